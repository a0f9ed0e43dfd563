//! Attempts that a worker lost, released or could not make.

use super::*;

#[test]
fn an_attempt_lost_with_its_worker_is_repeated_without_using_up_a_retry() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    world.serve(1);
    world.crash(None);
    assert_eq!(world.kinds(id), ["created", "started", "attempt_failed"]);
    world.pass(Duration::from_secs(2));
    world.serve(1);
    assert_eq!(world.calls[0].attempt, 2);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn losses_within_an_hour_do_not_end_a_task_however_many_they_are() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    for _ in 0..20 {
        world.serve(1);
        world.crash(None);
        world.pass(Duration::from_secs(70));
    }
    assert!(world.events(id).iter().all(|event| match event {
        TaskEvent::AttemptFailed(failed) => !failed.counted,
        _ => true,
    }));
    world.serve(1);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn a_task_that_kills_its_workers_for_more_than_an_hour_uses_up_its_retries_and_ends() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_retries = Some(2);
    });
    let mut counted = Vec::new();
    while world.dispatcher.is_open(id) {
        world.serve(1);
        world.crash(None);
        if let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last() {
            counted.push(failed.counted);
        }
        assert!(counted.len() < 200, "it comes to an end: {counted:?}");
        world.pass(Duration::from_secs(70));
    }
    let free = counted.iter().take_while(|counted| !**counted).count();
    assert_eq!(free, 65, "about an hour of losses is free: {counted:?}");
    assert_eq!(counted[free..], [true, true], "then each uses up a retry");
    let Some(TaskEvent::Dead(dead)) = world.events(id).last().cloned() else {
        panic!("dead");
    };
    assert!(dead.failure.message.contains("in a row"), "{dead:?}");
}

#[test]
fn a_released_attempt_is_repeated_at_once_and_uses_up_no_retry() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    for attempt in 1..=10 {
        world.serve(1);
        let call = world.calls.remove(0);
        assert_eq!(call.attempt, attempt);
        world
            .dispatcher
            .attempt_released(call.task, call.attempt, world.now);
        world.append();
        assert_eq!(world.kinds(id).last(), Some(&"released"));
    }
    world.serve(1);
    world.end_call(answered(500));
    let events = world.events(id);
    assert!(
        matches!(events.last(), Some(TaskEvent::Dead(dead)) if dead.failure.kind == FailureKind::HttpStatus),
        "what the target answers counts as ever: {events:?}"
    );
}

#[test]
fn a_release_that_may_not_be_stored_is_no_loss_to_the_next_dispatcher_of_the_process() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    let call = world.calls.remove(0);
    world
        .dispatcher
        .attempt_released(call.task, call.attempt, world.now);
    let unstored = std::mem::take(&mut world.dispatcher).into_unstored();
    for (seq, event) in (1..).zip(world.log.clone()) {
        world.dispatcher.apply(StreamSeq(seq), None, &event);
    }
    let mut actions = Vec::new();
    world
        .dispatcher
        .activate(world.now, &HashSet::new(), unstored, &mut actions);
    world.carry_out(actions);
    world.append();
    assert_eq!(world.kinds(id), ["created", "started", "released"]);
}

#[test]
fn a_worker_that_cannot_make_calls_uses_up_no_retry_of_a_task() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        world.serve(1);
        world.end_call(Outcome::Failed(Failure {
            kind: FailureKind::WorkerFault,
            message: "The worker is out of descriptors; nothing was sent".into(),
        }));
        let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last().cloned() else {
            panic!("it is tried again: {:?}", world.kinds(id));
        };
        assert!(!failed.counted);
        pauses.push(failed.retry_at.since(failed.at).as_secs());
        world.pass(Duration::from_secs(70));
    }
    assert!(pauses.is_sorted(), "more and more seldom: {pauses:?}");
    assert!(
        (60..=66).contains(&pauses[7]),
        "within a minute: {pauses:?}"
    );
}

fn without_the_vault() -> Outcome {
    Outcome::Failed(Failure {
        kind: FailureKind::VaultAway,
        message: "The vault could not be asked; nothing was sent".into(),
    })
}

#[test]
fn an_attempt_for_want_of_the_vault_uses_up_no_retry_and_is_repeated_more_and_more_seldom() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    let mut pauses = Vec::new();
    for _ in 0..5 {
        world.serve(1);
        world.end_call(without_the_vault());
        let Some(TaskEvent::AttemptFailed(failed)) = world.events(id).last().cloned() else {
            panic!("it is tried again: {:?}", world.kinds(id));
        };
        assert!(!failed.counted);
        let pause = failed.retry_at.since(failed.at);
        // Without the jitter of up to a tenth.
        pauses.push((pause.as_secs_f64() / 1.1).ceil());
        world.pass(pause);
    }
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0]);
    world.serve(1);
    world.end_call(answered(200));
    assert_eq!(world.kinds(id).last(), Some(&"succeeded"));
}

#[test]
fn a_task_does_not_wait_for_the_vault_for_ever() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let mut attempts = 0;
    while world.dispatcher.open() > 0 {
        world.serve(1);
        world.end_call(without_the_vault());
        world.pass(Duration::from_secs(400));
        attempts += 1;
    }
    assert_eq!(world.kinds(id).last(), Some(&"dead"));
    assert_eq!(attempts, 301);
}
