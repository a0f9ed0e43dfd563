//! Debounce: who gives way, how long the last one waits, and what a new owner makes of it.

use super::*;
use crate::command::Blocker;
use crate::task::EndReason;

fn debounce(key: &str, delay: f64, mode: &str) -> DebounceRequest {
    DebounceRequest {
        key: Some(key.into()),
        delay: Some(Length::Seconds(delay)),
        max_delay: None,
        mode: Some(mode.into()),
    }
}

/// A task of a window of ten seconds, in which the first waits at most 25.
fn one(world: &mut World, mode: &str) -> TaskId {
    world.create(|r| {
        r.debounce = Some(DebounceRequest {
            max_delay: Some(Length::Seconds(25.0)),
            ..debounce("a", 10.0, mode)
        });
    })
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The task that runs instead of one that was superseded.
fn superseded_by(world: &World, id: TaskId) -> Option<TaskId> {
    let events = world.events(id);
    let end = events.last().cloned().and_then(TaskEvent::into_end)?;
    assert_eq!(events.len(), 2, "created, and superseded: {events:?}");
    assert_eq!(end.reason(), EndReason::Superseded);
    match end {
        TaskEnd::Cancelled(end) => Some(end.instead?.task),
        _ => None,
    }
}

#[test]
fn the_last_of_a_window_runs_when_no_other_has_come_for_the_delay() {
    let mut world = World::new();
    let first = one(&mut world, "last");
    world.pass(seconds(9));
    let second = one(&mut world, "last");
    world.pass(seconds(9));
    assert_eq!(superseded_by(&world, first), Some(second));
    world.serve(10);
    assert_eq!(called(&world), []);
    world.pass(seconds(1));
    world.serve(10);
    assert_eq!(called(&world), [second]);
    // It has started, so it absorbs nothing more.
    let third = one(&mut world, "last");
    world.pass(Duration::ZERO);
    assert_eq!(world.kinds(third), ["created"]);
    world.end_call(answered(500));
    world.pass(seconds(10));
    world.serve(10);
    assert_eq!(called(&world), [second, third], "a retry, and the next");
}

#[test]
fn the_first_of_a_window_runs_and_waits_for_those_behind_it() {
    let mut world = World::new();
    let first = one(&mut world, "first");
    world.pass(seconds(9));
    let second = one(&mut world, "first");
    world.pass(seconds(9));
    assert_eq!(superseded_by(&world, second), Some(first));
    world.serve(10);
    assert_eq!(called(&world), []);
    world.pass(seconds(1));
    world.serve(10);
    assert_eq!(called(&world), [first]);
}

#[test]
fn nothing_waits_longer_than_the_longest_delay() {
    for mode in ["first", "last"] {
        for takeover in [false, true] {
            let mut world = World::new();
            let mut tasks = vec![one(&mut world, mode)];
            for _ in 0..3 {
                world.pass(seconds(8));
                tasks.push(one(&mut world, mode));
                world.pass(Duration::ZERO);
                if takeover {
                    world.crash(None);
                }
            }
            // 24 s after the first, and the latest came just now.
            world.pass(Duration::from_millis(999));
            world.serve(10);
            assert_eq!(called(&world), [], "{mode} {takeover}");
            world.pass(Duration::from_millis(1));
            world.serve(10);
            let survivor = if mode == "first" { tasks[0] } else { tasks[3] };
            assert_eq!(called(&world), [survivor], "{mode} {takeover}");
        }
    }
}

#[test]
fn the_one_that_is_left_waits_by_its_own_lengths() {
    let mut world = World::new();
    let brief = |mode: &str| DebounceRequest {
        max_delay: Some(Length::Seconds(2.0)),
        ..debounce("a", 1.0, mode)
    };
    let first = one(&mut world, "first");
    world.pass(seconds(9));
    let second = world.create(|r| r.debounce = Some(brief("first")));
    world.pass(seconds(9));
    assert_eq!(superseded_by(&world, second), Some(first));
    world.serve(10);
    assert_eq!(
        called(&world),
        [],
        "the shorter wait of the other one is not its own"
    );
    world.pass(seconds(1));
    world.serve(10);
    assert_eq!(called(&world), [first]);

    // Its longest wait counts from when the first of them came.
    world.end_call(answered(200));
    world.pass(Duration::ZERO);
    world.calls.clear();
    let first = world.create(|r| r.debounce = Some(brief("last")));
    world.pass(Duration::from_millis(500));
    let second = one(&mut world, "last");
    world.pass(Duration::from_millis(9_900));
    assert_eq!(superseded_by(&world, first), Some(second));
    world.serve(10);
    assert_eq!(called(&world), []);
    world.pass(Duration::from_millis(100));
    world.serve(10);
    assert_eq!(called(&world), [second]);
}

#[test]
fn a_window_is_as_long_as_before_when_the_log_has_dropped_the_tasks_in_it() {
    for mode in ["first", "last"] {
        let mut world = World::new();
        let mut tasks = vec![one(&mut world, mode)];
        for _ in 0..2 {
            world.pass(seconds(9));
            tasks.push(one(&mut world, mode));
            world.pass(Duration::ZERO);
        }
        world.restate(5);
        world.append();
        world.purge();
        assert!(world.gone > 4, "{}", world.gone);
        world.crash(None);
        world.pass(Duration::from_millis(6_999));
        world.serve(10);
        assert_eq!(called(&world), [], "{mode}");
        world.pass(Duration::from_millis(1));
        world.serve(10);
        let survivor = if mode == "first" { tasks[0] } else { tasks[2] };
        assert_eq!(called(&world), [survivor], "{mode}");
    }
}

#[test]
fn a_start_that_waits_for_the_log_counts_as_one() {
    for mode in ["first", "last"] {
        for stored in [false, true] {
            let mut world = World::new();
            let first = one(&mut world, mode);
            world.go_on(seconds(10));
            let mut actions = Vec::new();
            world.dispatcher.tick(world.now);
            world.dispatcher.fill(1, world.now, &mut actions);
            // Its owner reads the next one before it knows whether the start is stored.
            let second = one(&mut world, mode);
            world.dispatcher.tick(world.now);
            if stored {
                world.append();
                assert_eq!(world.kinds(first), ["created", "started"]);
                assert_eq!(world.kinds(second), ["created"], "{mode}");
            } else {
                // It is not: the next owner finds two that have not started.
                world.crash(None);
                let (gone, left) = match mode {
                    "first" => (second, first),
                    _ => (first, second),
                };
                assert_eq!(superseded_by(&world, gone), Some(left), "{mode}");
            }
        }
    }
}

#[test]
fn the_start_of_a_task_counts_also_if_the_next_one_was_created_before_it() {
    for mode in ["first", "last"] {
        for takeover in [false, true] {
            let mut world = World::new();
            let first = one(&mut world, mode);
            world.pass(seconds(10));
            // In the log, the second creation stands before the start; its owner reads it after that.
            let second = TaskId::new(world.now.wall, 99, Partition::default());
            let Some(TaskEvent::Created(mut created)) = world.events(first).first().cloned() else {
                panic!("a creation");
            };
            (created.id, created.at) = (second, world.now.wall);
            let creation = TaskEvent::Created(created);
            let seq = world.store(creation.clone());
            world.serve(1);
            assert_eq!(called(&world), [first]);
            world.dispatcher.apply(seq, None, &creation);
            if takeover {
                world.crash(None);
            }
            world.pass(Duration::ZERO);
            assert_eq!(
                world.kinds(second),
                ["created"],
                "it has a window of its own"
            );
            world.pass(seconds(10));
            world.serve(10);
            assert!(called(&world).contains(&second), "{mode} {takeover}");
        }
    }
}

#[test]
fn a_task_that_was_asked_to_run_does_not_wait_again() {
    let mut world = World::new();
    let first = one(&mut world, "first");
    world.pass(seconds(1));
    world.run_now(first);
    let second = one(&mut world, "first");
    world.pass(Duration::ZERO);
    assert_eq!(superseded_by(&world, second), Some(first));
    world.serve(10);
    assert_eq!(called(&world), [first]);
}

#[test]
fn a_cancelled_task_leaves_its_window() {
    let mut world = World::new();
    let first = one(&mut world, "last");
    world.cancel(first);
    let second = one(&mut world, "last");
    world.pass(seconds(10));
    world.serve(10);
    assert_eq!(called(&world), [second]);
    let end = world
        .events(first)
        .last()
        .cloned()
        .and_then(TaskEvent::into_end);
    assert_eq!(end.map(|end| end.reason()), Some(EndReason::Cancelled));
}

#[test]
fn other_keys_queues_and_teams_have_windows_of_their_own() {
    let mut world = World::new();
    let same = world.create(|r| r.debounce = Some(debounce("a", 10.0, "last")));
    let other_key = world.create(|r| r.debounce = Some(debounce("b", 10.0, "last")));
    let other_queue = world.create(|r| {
        r.debounce = Some(debounce("a", 10.0, "last"));
        r.queue = Some("mail".into());
    });
    let other_team = world.create_with(
        |r| r.debounce = Some(debounce("a", 10.0, "last")),
        |created| created.team = TeamId::new(START, 8),
    );
    world.pass(seconds(10));
    world.serve(10);
    let mut all = called(&world);
    all.sort_unstable();
    let mut expected = vec![same, other_key, other_queue, other_team];
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn a_task_in_a_window_is_told_until_when() {
    let mut world = World::new();
    let id = one(&mut world, "last");
    let until = world.now.wall.plus(seconds(10));
    let explained = world
        .dispatcher
        .explain(id, &World::team(), world.now, |_| None);
    let explained = explained.expect("an open task");
    assert_eq!(explained.blocker, Some(Blocker::Debounced { until }));
    assert_eq!(explained.not_before, Some(until));
    world.pass(seconds(10));
    world.serve(1);
    world.end_call(answered(500));
    let explained = world
        .dispatcher
        .explain(id, &World::team(), world.now, |_| None);
    let blocker = explained.expect("an open task").blocker;
    assert!(
        matches!(blocker, Some(Blocker::RetryPause { .. })),
        "{blocker:?}"
    );
}

#[test]
fn windows_do_not_follow_the_wall_clock() {
    for jump in [-50_000, 50_000] {
        let mut world = World::new();
        let first = one(&mut world, "last");
        world.jump(jump);
        world.pass(Duration::from_millis(9_999));
        world.serve(10);
        assert_eq!(called(&world), []);
        world.pass(Duration::from_millis(1));
        world.serve(10);
        assert_eq!(called(&world), [first]);
    }
}
