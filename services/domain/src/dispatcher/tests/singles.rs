//! Singletons: one at a time, whichever of them it is, and what each mode makes of the others.

use super::*;
use crate::command::Blocker;
use crate::task::{EndReason, SingletonRequest};

fn one(world: &mut World, mode: &str) -> TaskId {
    with(world, mode, |_| {})
}

fn with(world: &mut World, mode: &str, change: impl FnOnce(&mut TaskRequest)) -> TaskId {
    world.create(|r| {
        r.singleton = Some(SingletonRequest {
            key: Some("a".into()),
            mode: Some(mode.into()),
        });
        change(r);
    })
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

/// How a task ended that gave way, and the task that it names.
fn gave_way(world: &World, id: TaskId) -> Option<(EndReason, TaskId)> {
    let end = world.events(id).last().cloned()?.into_end()?;
    let reason = end.reason();
    match end {
        TaskEnd::Cancelled(end) => Some((reason, end.instead?.task)),
        _ => None,
    }
}

#[test]
fn of_a_queue_one_runs_until_its_end_and_then_the_next() {
    let mut world = World::new();
    let tasks: Vec<_> = (0..3).map(|_| one(&mut world, "queue")).collect();
    let free = world.create(|_| {});
    world.serve(10);
    assert_eq!(called(&world), [tasks[0], free]);
    world.end_call(answered(500));
    world.serve(10);
    assert_eq!(
        called(&world),
        [free],
        "it pauses before a retry, and has its key"
    );
    world.pass(Duration::from_secs(2));
    world.serve(10);
    assert_eq!(called(&world), [free, tasks[0]]);
    world.calls.remove(0);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world), [tasks[1]]);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world), [tasks[2]]);
}

#[test]
fn a_task_that_is_delayed_holds_nobody_and_takes_its_place_when_it_is_due() {
    let mut world = World::new();
    let later = with(&mut world, "queue", |r| {
        r.delay = Some(Length::Seconds(60.0));
    });
    let first = one(&mut world, "queue");
    let second = one(&mut world, "queue");
    world.serve(1);
    assert_eq!(called(&world), [first]);
    world.pass(Duration::from_secs(60));
    world.serve(10);
    assert_eq!(called(&world), [first]);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world), [later], "it was created first");
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world), [second]);
}

#[test]
fn a_start_that_waits_for_the_log_has_the_key() {
    let mut world = World::new();
    let later = with(&mut world, "queue", |r| {
        r.delay = Some(Length::Seconds(60.0));
    });
    let first = one(&mut world, "queue");
    let mut actions = Vec::new();
    world.dispatcher.fill(10, world.now, &mut actions);
    // Meanwhile one becomes due that was created before it.
    world.go_on(Duration::from_secs(60));
    world.dispatcher.tick(world.now);
    world.dispatcher.fill(10, world.now, &mut actions);
    world.dispatcher.check();
    world.append();
    assert_eq!(called(&world), [first]);
    assert_eq!(world.kinds(later), ["created"]);
}

#[test]
fn a_new_one_is_skipped_while_another_has_not_ended() {
    let mut world = World::new();
    let first = with(&mut world, "queue", |r| {
        r.delay = Some(Length::Seconds(60.0));
    });
    let skipped = one(&mut world, "skip");
    world.pass(Duration::ZERO);
    assert_eq!(gave_way(&world, skipped), Some((EndReason::Skipped, first)));
    assert_eq!(world.kinds(skipped), ["created", "cancelled"]);
    world.pass(Duration::from_secs(60));
    world.serve(10);
    let also = one(&mut world, "skip");
    world.pass(Duration::ZERO);
    assert_eq!(gave_way(&world, also), Some((EndReason::Skipped, first)));
    world.end_call(answered(200));
    let next = one(&mut world, "skip");
    world.serve(10);
    assert_eq!(called(&world), [next]);
}

#[test]
fn of_those_that_queue_one_at_a_time_the_second_waits_and_the_third_is_skipped() {
    let mut world = World::new();
    let running = one(&mut world, "queueOne");
    world.serve(10);
    let waiting = one(&mut world, "queueOne");
    let skipped = one(&mut world, "queueOne");
    world.pass(Duration::ZERO);
    let other = Some((EndReason::Skipped, waiting));
    assert_eq!(gave_way(&world, skipped), other);
    assert_eq!(world.kinds(waiting), ["created"]);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world).last(), Some(&waiting));
    // The place of the one that waits is free again, and is taken once.
    let next = one(&mut world, "queueOne");
    let too_many = one(&mut world, "queueOne");
    world.pass(Duration::ZERO);
    assert_eq!(gave_way(&world, too_many), Some((EndReason::Skipped, next)));
    assert_eq!(world.kinds(running).last(), Some(&"succeeded"));
}

#[test]
fn a_newer_one_cancels_what_runs_and_what_waits_and_starts_after_that() {
    let mut world = World::new();
    let running = one(&mut world, "queue");
    let waiting = one(&mut world, "queue");
    world.serve(10);
    let new = one(&mut world, "cancelRunning");
    world.pass(Duration::ZERO);
    world.append();
    assert_eq!(
        gave_way(&world, waiting),
        Some((EndReason::Superseded, new))
    );
    assert_eq!(world.cut_off.len(), 1);
    world.serve(10);
    assert_eq!(called(&world), [running], "it has not ended");
    let call = world.calls.remove(0);
    world
        .dispatcher
        .attempt_released(call.task, call.attempt, world.now);
    world.append();
    assert_eq!(
        gave_way(&world, running),
        Some((EndReason::Superseded, new))
    );
    assert_eq!(
        world.kinds(running),
        ["created", "started", "cancel_requested", "cancelled"]
    );
    world.serve(10);
    assert_eq!(called(&world), [new]);
}

#[test]
fn one_that_answers_before_it_is_cut_off_completes() {
    let mut world = World::new();
    let running = one(&mut world, "cancelRunning");
    world.serve(10);
    let new = one(&mut world, "cancelRunning");
    world.end_call(answered(200));
    assert_eq!(world.kinds(running).last(), Some(&"succeeded"));
    world.serve(10);
    assert_eq!(called(&world), [new]);
}

#[test]
fn one_whose_start_waits_for_the_log_is_cut_off_after_it() {
    let mut world = World::new();
    let running = one(&mut world, "queue");
    let mut actions = Vec::new();
    world.dispatcher.fill(10, world.now, &mut actions);
    let new = one(&mut world, "cancelRunning");
    world.append();
    world.pass(Duration::ZERO);
    assert_eq!(
        world.kinds(running),
        ["created", "started", "cancel_requested"]
    );
    world.serve(10);
    assert_eq!(called(&world), [running]);
    assert_eq!(world.kinds(new), ["created"]);
}

#[test]
fn a_new_owner_cancels_what_the_former_could_not() {
    for requested in [false, true] {
        let mut world = World::new();
        let running = one(&mut world, "queue");
        world.serve(10);
        let new = one(&mut world, "cancelRunning");
        if requested {
            world.pass(Duration::ZERO);
        }
        world.crash(None);
        world.append();
        world.serve(10);
        world.append();
        let way = gave_way(&world, running);
        assert_eq!(way, Some((EndReason::Superseded, new)), "{requested}");
        world.serve(10);
        assert_eq!(called(&world), [new], "{requested}");
    }
}

#[test]
fn a_key_is_given_back_whatever_ends_its_task() {
    let ends: [fn(&mut World, TaskId); 3] = [
        |world, _| {
            world.end_call(failed(FailureKind::BlockedAddress));
        },
        |world, id| {
            world.cancel(id);
            let call = world.calls.remove(0);
            world
                .dispatcher
                .attempt_released(call.task, call.attempt, world.now);
            world.append();
        },
        |world, _| {
            world.pass(Duration::from_secs(30));
            world.end_call(failed(FailureKind::Timeout));
        },
    ];
    for end in ends {
        let mut world = World::new();
        let first = with(&mut world, "queue", |r| {
            r.expires_in = Some(Length::Seconds(20.0));
        });
        let second = one(&mut world, "queue");
        world.serve(10);
        end(&mut world, first);
        world.serve(10);
        assert_eq!(called(&world), [second]);
    }
}

#[test]
fn what_waits_for_a_key_may_expire_and_be_cancelled() {
    let mut world = World::new();
    let first = one(&mut world, "queue");
    let short = with(&mut world, "queue", |r| {
        r.expires_in = Some(Length::Seconds(5.0));
    });
    let gone = one(&mut world, "queue");
    let last = one(&mut world, "queue");
    world.serve(10);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.kinds(short), ["created", "expired"]);
    world.cancel(gone);
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(called(&world), [last]);
    assert_eq!(world.kinds(first).last(), Some(&"succeeded"));
}

#[test]
fn a_task_that_waits_for_a_key_is_told_for_whom() {
    let mut world = World::new();
    let first = one(&mut world, "queue");
    let second = one(&mut world, "queue");
    let third = one(&mut world, "queue");
    let told = |world: &World, id| {
        let explained = world
            .dispatcher
            .explain(id, &World::team(), world.now, |_| None);
        explained.expect("an open task")
    };
    assert_eq!(told(&world, first).blocker, Some(Blocker::Turn));
    let explained = told(&world, third);
    assert_eq!(explained.blocker, Some(Blocker::Singleton { task: first }));
    assert_eq!(explained.ahead, Some(2));
    world.serve(10);
    assert_eq!(told(&world, first).blocker, None);
    let explained = told(&world, second);
    assert_eq!(explained.blocker, Some(Blocker::Singleton { task: first }));
    assert_eq!(explained.ahead, Some(1));
}
