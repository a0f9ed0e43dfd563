//! What the next owner of a partition does with what the last one left: calls, answers, snapshots,
//! restatements.

use super::properties::assert_orderly;
use super::*;

#[test]
fn an_attempt_still_being_made_in_this_process_is_adopted() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    let mut next = Dispatcher::new();
    for (seq, event) in (1..).map(StreamSeq).zip(&world.log) {
        next.apply(seq, None, event);
    }
    let running = Running {
        task: id,
        number: 1,
        kind: CallKind::Attempt,
    };
    next.activate(
        world.now,
        &HashSet::from([running]),
        Vec::new(),
        &mut Vec::new(),
    );
    world.dispatcher = next;
    world.end_call(answered(200));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

#[test]
fn what_a_target_said_is_not_forgotten_when_nobody_knows_whether_it_is_stored() {
    for landed in [false, true] {
        let mut world = World::new();
        let id = world.create(|_| {});
        world.serve(1);
        let call = world.calls.remove(0);
        let now = world.now;
        world
            .dispatcher
            .attempt_ended(id, call.attempt, answered(200), now);
        let decided = world.dispatcher.begin_append(10).expect("a decision");
        if landed {
            let event = decided[0].event.clone();
            world.store(event);
        }
        let results = std::mem::take(&mut world.dispatcher).into_unstored();
        let mut next = Dispatcher::new();
        for (at, event) in world.log.iter().enumerate() {
            next.apply(StreamSeq(at as u64 + 1), None, event);
        }
        next.activate(world.now, &HashSet::new(), results, &mut Vec::new());
        world.dispatcher = next;
        world.append();
        assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    }
}

#[test]
fn a_call_that_was_promised_is_made_when_its_start_is_stored_after_all() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    let decided = world.dispatcher.begin_append(10).expect("a start");
    let event = decided[0].event.clone();
    world.store(event);
    let unstored = std::mem::take(&mut world.dispatcher).into_unstored();
    let mut next = Dispatcher::new();
    for (at, event) in world.log.iter().enumerate() {
        next.apply(StreamSeq(at as u64 + 1), None, event);
    }
    next.activate(world.now, &HashSet::new(), unstored, &mut actions);
    world.dispatcher = next;
    world.carry_out(actions);
    assert_eq!(world.calls.len(), 1);
    assert_eq!(world.calls[0].limit, Duration::from_secs(30));
    world.end_call(answered(200));
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
}

#[test]
fn a_snapshot_of_an_owner_that_has_lost_its_partition_hides_nothing() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let former = std::mem::take(&mut world.dispatcher);
    world.crash(None);
    world.serve(1);
    world.end_call(answered(200));
    // The former owner continues: it reads the next creation, and has seen nothing of what its
    // successor did.
    world.create(|_| {});
    let mut former = former;
    let creation = world.log.last().cloned().expect("just created");
    former.apply(StreamSeq(world.log.len() as u64), None, &creation);
    world.crash(former.snapshot());
    world.serve(1);
    assert_eq!(world.kinds(id), ["created", "started", "succeeded"]);
    assert_eq!(world.calls.len(), 1, "only the second task is to be called");
}

#[test]
fn a_damaged_or_foreign_snapshot_is_refused() {
    let mut world = World::new();
    world.create(|_| {});
    let good = world.dispatcher.snapshot().expect("nothing in flight");
    assert!(Dispatcher::restore(&good).is_ok());
    assert!(matches!(
        Dispatcher::restore(&good[..good.len() - 1]),
        Err(SnapshotError::Damaged(_))
    ));
    let mut newer = good;
    newer[3] = 99;
    assert_eq!(
        Dispatcher::restore(&newer).err(),
        Some(SnapshotError::Version { found: 99 })
    );
    assert!(matches!(
        Dispatcher::restore(&[]),
        Err(SnapshotError::Damaged(_))
    ));
    // Four billion tasks, and none: no room is made for what a header claims.
    let mut claims = Dispatcher::new().snapshot().expect("nothing in flight");
    assert_eq!(claims.pop(), Some(0x90), "it ends with an empty list");
    claims.extend([0xdd, 0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(
        Dispatcher::restore(&claims),
        Err(SnapshotError::Damaged(_))
    ));
}

#[test]
fn a_restated_task_ends_as_it_would_have_however_much_of_it_is_gone() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_retries = Some(3);
        r.on_complete_url = Some("http://hook/".into());
    });
    world.serve(1);
    world.end_call(answered(500));
    let created = world.log[0].clone();
    for _ in 0..3 {
        world.restate(1);
        world.append();
        world.purge();
        world.crash(None);
    }
    assert_eq!(world.gone + 1, world.log.len() as u64, "all else is gone");
    let TaskEvent::Restated(restated) = world.read(StreamSeq(world.gone + 1)) else {
        panic!("the task was stated again");
    };
    assert_eq!(TaskEvent::Created(Box::new(restated.created)), created);
    assert_eq!((restated.position, restated.attempts), (StreamSeq(1), 1));
    assert_eq!(restated.history.attempts.len(), 1);
    world.pass(Duration::from_secs(20));
    world.serve(1);
    assert_eq!(world.calls[0].attempt, 2, "attempts go on");
    world.end_call(answered(200));
    // The task has ended and its webhook waits: the result is restated with it, the body is not.
    world.restate(1);
    world.append();
    let TaskEvent::Restated(restated) = world.read(StreamSeq(world.log.len() as u64)) else {
        panic!("the task was stated again");
    };
    assert_eq!(restated.created.body, None);
    assert!(matches!(
        &restated.standing,
        Standing::Ended { end, .. } if matches!(**end, TaskEnd::Succeeded(_))
    ));
    world.purge();
    world.crash(None);
    world.serve(1);
    let delivery = world.deliveries.remove(0);
    assert!(world.read(delivery.ended).into_end().is_some());
    world
        .dispatcher
        .delivery_ended(id, delivery.number, &answered(200), world.now);
    world.append();
    assert_eq!(world.dispatcher.open(), 0);
    assert_orderly(&world.log);
}

#[test]
fn a_purge_beyond_the_mark_loses_a_task() {
    let mut world = World::new();
    world.create(|_| {});
    world.gone = 1;
    world.crash(None);
    assert_eq!(
        world.dispatcher.open(),
        0,
        "or the tests above prove nothing"
    );
}

#[test]
fn a_call_that_began_before_a_restatement_still_finds_its_request() {
    let mut world = World::new();
    world.create(|_| {});
    world.serve(1);
    world.restate(1);
    world.append();
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(1)));
    world.purge();
    world.end_call(answered(500));
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(3)));
}

/// An attempt that ended, with a sentence that is longer than anything a target or a library says.
fn failed_at_length(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        message: "\u{1f6ab}".repeat(20_000),
    })
}

#[test]
fn a_restatement_says_everything_in_the_room_that_creations_leave() {
    let mut world = World::new();
    world.create(|request| {
        request.max_retries = Some(10);
        request.body = Some("x".repeat(1_000_000));
        request.headers = vec![("X-Long".into(), "y".repeat(4_000))];
        request.on_complete_url = Some(format!("http://hook/{}", "z".repeat(1_000)));
        request.metadata = Some(vec![("key".into(), "value".into())]);
    });
    let created = world.log[0].clone();
    // More attempts than are remembered, most of which use up no retry.
    for number in 0..40 {
        world.pass(Duration::from_secs(100_000));
        world.serve(1);
        let kind = match number % 4 {
            0 => FailureKind::HttpStatus,
            _ => FailureKind::WorkerFault,
        };
        world.end_call(failed_at_length(kind));
    }
    world.restate(1);
    world.append();
    let last = world.log.last().expect("events").clone();
    let TaskEvent::Restated(restated) = &last else {
        panic!("it is still open: {}", last.kind());
    };
    assert_eq!(
        TaskEvent::Created(Box::new(restated.created.clone())),
        created,
        "nothing of the request is left out"
    );
    assert!(restated.attempts >= 40 && restated.last_failure.is_some());
    assert_eq!(
        restated.history.attempts.len(),
        crate::task::history::MAX_ATTEMPTS
    );
    let beside = last.encode().len() - created.encode().len();
    assert!(
        (8_000..RESTATEMENT_BYTES).contains(&beside),
        "{beside} bytes beside the creation"
    );
}

#[test]
fn a_task_that_is_delayed_for_a_year_outlives_the_log_that_it_was_created_in() {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut world = World::new();
    let due = START.plus(DAY * 366);
    world.create(|request| request.delay_until = Some(due.to_rfc3339()));
    for _ in 0..12 {
        world.pass(DAY * 30);
        world.serve(1);
        world.restate(1);
        world.append();
        world.purge();
        world.crash(None);
    }
    assert!(world.calls.is_empty(), "360 of 366 days have passed");
    world.pass(DAY * 6 - Duration::from_secs(1));
    world.serve(1);
    assert!(world.calls.is_empty(), "a second too early");
    world.pass(Duration::from_secs(1));
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
    world.end_call(answered(200));
    assert_eq!(world.dispatcher.open(), 0);
}
