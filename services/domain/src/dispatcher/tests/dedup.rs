//! Duplicates: which of two tasks runs, for how long, and what a new owner makes of it.

use super::*;
use crate::task::once::MAX_REMEMBERED;
use crate::task::{DedupRequest, EndReason};

/// A task whose duplicates are those of the next ten seconds.
fn one(world: &mut World, on_duplicate: &str, if_failed: &str) -> TaskId {
    world.create(|r| {
        r.max_retries = Some(0);
        r.dedup = Some(DedupRequest {
            key: Some("a".into()),
            window: Some(Length::Seconds(10.0)),
            on_duplicate: Some(on_duplicate.into()),
            if_failed: Some(if_failed.into()),
            ..DedupRequest::default()
        });
    })
}

fn existing(world: &mut World) -> TaskId {
    one(world, "existing", "new")
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
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
fn a_duplicate_gives_way_while_the_first_waits_runs_and_after_its_end() {
    for takeover in [false, true] {
        let mut world = World::new();
        let first = existing(&mut world);
        let mut duplicates = vec![existing(&mut world)];
        world.serve(10);
        duplicates.push(existing(&mut world));
        world.serve(10);
        world.end_call(answered(200));
        if takeover {
            world.purge();
            world.crash(None);
        }
        world.pass(seconds(9));
        duplicates.push(existing(&mut world));
        world.serve(10);
        for id in duplicates {
            let way = gave_way(&world, id);
            assert_eq!(way, Some((EndReason::Duplicate, first)), "{takeover}");
            assert_eq!(world.kinds(id), ["created", "cancelled"]);
        }
        world.pass(seconds(1));
        let next = existing(&mut world);
        world.serve(10);
        assert_eq!(called(&world), [next], "its window is over");
    }
}

#[test]
fn a_snapshot_remembers_what_has_ended() {
    let mut world = World::new();
    let first = existing(&mut world);
    world.serve(1);
    world.end_call(answered(200));
    let snapshot = world.dispatcher.snapshot();
    world.crash(snapshot);
    let again = existing(&mut world);
    world.pass(Duration::ZERO);
    assert_eq!(gave_way(&world, again), Some((EndReason::Duplicate, first)));
}

#[test]
fn a_duplicate_that_the_former_owner_could_not_end_is_ended_by_the_next() {
    let mut world = World::new();
    let first = existing(&mut world);
    world.serve(1);
    world.end_call(answered(200));
    let again = existing(&mut world);
    world.crash(None);
    world.serve(10);
    assert_eq!(called(&world), []);
    assert_eq!(gave_way(&world, again), Some((EndReason::Duplicate, first)));
}

#[test]
fn one_that_failed_or_was_cancelled_may_be_asked_for_again() {
    let mut world = World::new();
    let first = existing(&mut world);
    world.serve(1);
    world.end_call(answered(500));
    assert_eq!(world.kinds(first).last(), Some(&"dead"));
    let counts = one(&mut world, "existing", "existing");
    world.pass(Duration::ZERO);
    assert_eq!(
        gave_way(&world, counts),
        Some((EndReason::Duplicate, first))
    );
    let second = existing(&mut world);
    world.serve(1);
    assert_eq!(called(&world), [second]);
    world.end_call(answered(500));
    let third = existing(&mut world);
    world.cancel(third);
    let fourth = existing(&mut world);
    world.serve(1);
    assert_eq!(called(&world), [fourth]);
}

#[test]
fn one_that_has_not_started_may_be_replaced() {
    let replacing = |world: &mut World| one(world, "replaceIfNotStarted", "new");
    let mut world = World::new();
    let first = replacing(&mut world);
    let second = replacing(&mut world);
    world.serve(1);
    assert_eq!(
        gave_way(&world, first),
        Some((EndReason::Superseded, second))
    );
    assert_eq!(called(&world), [second]);
    let third = replacing(&mut world);
    world.pass(Duration::ZERO);
    assert_eq!(
        gave_way(&world, third),
        Some((EndReason::Duplicate, second))
    );
    // The window is that of the task that runs.
    world.end_call(answered(200));
    let fourth = replacing(&mut world);
    world.pass(Duration::ZERO);
    assert_eq!(
        gave_way(&world, fourth),
        Some((EndReason::Duplicate, second))
    );
}

#[test]
fn one_that_was_replaced_does_not_come_back_with_the_next_owner() {
    let mut world = World::new();
    let first = one(&mut world, "replaceIfNotStarted", "new");
    let second = one(&mut world, "replaceIfNotStarted", "new");
    // The newer one is started before the end of the older one is decided.
    let mut actions = Vec::new();
    world.dispatcher.fill(10, world.now, &mut actions);
    world.append();
    assert_eq!(called(&world), [second]);
    world.crash(None);
    world.serve(10);
    assert_eq!(
        gave_way(&world, first),
        Some((EndReason::Superseded, second))
    );
    assert!(!world.kinds(first).contains(&"started"));
}

/// A task that says that it replaces those before it, and was accepted by a clock that is so many
/// milliseconds wrong.
fn accepted_elsewhere(world: &mut World, skew: i64, on_duplicate: &str) -> TaskId {
    world.jump(skew);
    let id = one(world, on_duplicate, "new");
    world.jump(-skew);
    id
}

#[test]
fn whoever_comes_between_does_not_hide_the_one_whose_window_it_is() {
    for (has_ended, takeover) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut world = World::new();
        let first = existing(&mut world);
        world.serve(10);
        assert_eq!(called(&world), [first]);
        if has_ended {
            world.end_call(answered(200));
        }
        // After the window of the first by its clock, and the next one within it by another clock.
        let between = accepted_elsewhere(&mut world, 11_000, "existing");
        let late = accepted_elsewhere(&mut world, 9_000, "replaceIfNotStarted");
        if takeover {
            world.crash(None);
        }
        world.pass(Duration::ZERO);
        let way = gave_way(&world, late);
        assert_eq!(
            way,
            Some((EndReason::Duplicate, first)),
            "{has_ended}, {takeover}"
        );
        world.serve(10);
        assert!(world.kinds(between).contains(&"started"));
    }
}

#[test]
fn all_that_have_not_started_are_replaced() {
    let mut world = World::new();
    let first = existing(&mut world);
    let second = accepted_elsewhere(&mut world, 11_000, "existing");
    let third = accepted_elsewhere(&mut world, 9_000, "replaceIfNotStarted");
    world.serve(10);
    for id in [first, second] {
        assert_eq!(gave_way(&world, id), Some((EndReason::Superseded, third)));
    }
    assert_eq!(called(&world), [third]);
}

#[test]
fn one_that_was_leaving_does_not_come_back_beside_the_one_that_runs() {
    let mut world = World::new();
    let first = existing(&mut world);
    let second = one(&mut world, "replaceIfNotStarted", "new");
    // Both are to end, and then comes a third, which runs. Of all this the log gets only the end of
    // the second and the start of the third.
    world.cancel_unstored(second);
    let third = existing(&mut world);
    let mut actions = Vec::new();
    world.dispatcher.fill(10, world.now, &mut actions);
    world.append();
    assert_eq!(called(&world), [third]);
    assert_eq!(world.kinds(first), ["created"]);
    world.crash(None);
    world.serve(10);
    assert_eq!(
        gave_way(&world, first),
        Some((EndReason::Superseded, third))
    );
    assert_eq!(world.kinds(first), ["created", "cancelled"]);
}

#[test]
fn what_is_remembered_is_forgotten_and_lets_the_log_go() {
    let mut world = World::new();
    existing(&mut world);
    world.serve(1);
    world.end_call(answered(200));
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(1)));
    world.jump(5_000_000);
    world.pass(seconds(69));
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(1)));
    world.pass(seconds(1));
    assert_eq!(world.dispatcher.oldest_needed(), None);
    world.dispatcher.check();
}

#[test]
fn of_a_queue_no_more_is_remembered_than_stated() {
    let mut world = World::new();
    for number in 0..MAX_REMEMBERED + 2 {
        let id = TaskId::new(START, number as u128, Partition::default());
        let Some(TaskEvent::Created(mut created)) = world.log.first().cloned() else {
            existing(&mut world);
            continue;
        };
        created.id = id;
        if let Some(once) = &mut created.once
            && let crate::task::Once::Dedup(dedup) = &mut **once
        {
            dedup.key = number.to_string();
        }
        let seq = StreamSeq(number as u64 * 2 + 10);
        world
            .dispatcher
            .apply(seq, None, &TaskEvent::Created(created));
        let ended = TaskEvent::Expired(TaskExpired {
            id,
            attempt: None,
            at: START,
            failure: crate::event::Failure {
                kind: FailureKind::Timeout,
                message: String::new(),
            },
            cancels_to: None,
            waits: Vec::new(),
        });
        let at = Some(world.now.elapsed);
        let seq = StreamSeq(seq.0 + 1);
        world.dispatcher.evolve(seq, &ended, at, &mut Vec::new());
    }
    assert_eq!(world.dispatcher.remembered.all().count(), MAX_REMEMBERED);
    let oldest = world.dispatcher.remembered.needs();
    assert_eq!(oldest, Some(StreamSeq(14)), "the first one was forgotten");
}
