//! Tasks that are run before their time.

use super::*;

#[test]
fn a_delayed_task_starts_at_once_and_uses_up_no_retry() {
    for crash in [false, true] {
        let mut world = World::new();
        let id = world.create(|r| {
            r.delay = Some(Length::Seconds(3_600.0));
            r.max_retries = Some(1);
        });
        world.serve(1);
        assert_eq!(world.calls, []);
        let done = OwnerReply::Done { seq: StreamSeq(2) };
        assert_eq!(world.run_now(id), Some(done));
        if crash {
            world.crash(None);
        }
        world.serve(1);
        assert_eq!(world.calls.len(), 1);
        assert_eq!(world.run_now(id), Some(OwnerReply::Running));
        world.end_call(answered(500));
        world.pass(Duration::from_secs(2));
        world.serve(1);
        assert_eq!(world.calls.len(), 1, "its one retry");
        world.end_call(answered(200));
        assert_eq!(world.run_now(id), Some(OwnerReply::NotOpen));
        assert_eq!(world.kinds(id)[..2], ["created", "run_requested"]);
    }
}

#[test]
fn a_pause_between_attempts_can_be_cut_short() {
    let mut world = World::new();
    let id = world.create(|r| r.min_delay = Some(Length::Seconds(600.0)));
    world.serve(1);
    world.end_call(answered(500));
    world.serve(1);
    assert_eq!(world.calls, []);
    assert!(matches!(world.run_now(id), Some(OwnerReply::Done { .. })));
    let again = world.run_now(id);
    assert!(
        matches!(again, Some(OwnerReply::AlreadyRequested { .. })),
        "it is ready by then: {again:?}"
    );
    world.serve(1);
    assert_eq!(world.calls[0].attempt, 2);
    world.end_call(answered(200));
    let events = [
        "created",
        "started",
        "attempt_failed",
        "run_requested",
        "started",
        "succeeded",
    ];
    assert_eq!(world.kinds(id), events);
}

#[test]
fn what_was_asked_for_survives_a_restatement() {
    let mut world = World::new();
    let id = world.create(|r| r.delay = Some(Length::Seconds(3_600.0)));
    world.run_now(id);
    world.restate(9);
    world.append();
    world.purge();
    world.crash(None);
    let row = world.log[2..]
        .iter()
        .zip(3..)
        .fold(None, |row, (event, seq)| {
            crate::task::TaskRow::evolve(row, StreamSeq(seq), event)
        });
    let row = row.expect("a row of the restatement");
    assert_eq!(row.status_at(world.now.wall), crate::task::Status::Pending);
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn a_snapshot_that_is_ahead_of_a_request_keeps_the_pause_that_came_after_it() {
    let mut world = World::new();
    world.create(|r| r.min_delay = Some(Length::Seconds(600.0)));
    world.serve(1);
    world.end_call(answered(500));
    world.create(|r| r.delay = Some(Length::Seconds(3_600.0)));
    let id = world.log[0].id();
    assert!(matches!(world.run_now(id), Some(OwnerReply::Done { .. })));
    world.serve(1);
    world.end_call(answered(500));
    // No creation was read since, so a replay begins before the request.
    let snapshot = world.dispatcher.snapshot();
    assert_eq!(world.dispatcher.snapshot_position(), StreamSeq(4));
    world.crash(snapshot);
    world.serve(1);
    assert_eq!(world.calls, [], "it pauses after its second attempt");
    world.pass(Duration::from_secs(3_000));
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn a_request_counts_though_a_restatement_before_it_says_that_the_task_was_ready() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.delay_until = Some(START.plus(Duration::from_secs(60)).to_rfc3339());
    });
    world.pass(Duration::from_secs(60));
    world.restate(1);
    world.append();
    world.jump(-1_000);
    world.crash(None);
    let asked = world.now.wall;
    assert!(matches!(world.run_now(id), Some(OwnerReply::Done { .. })));
    world.purge();
    for _ in 0..2 {
        let since = match world.dispatcher.tasks.get(&id).map(|task| &task.phase) {
            Some(Phase::Ready { since, .. }) => Some(*since),
            _ => None,
        };
        assert_eq!(since, Some(asked));
        world.crash(None);
    }
}
