//! Ordering keys, and turns between fairness keys.

use super::*;
use crate::command::{Blocker, Explained};

pub(super) fn in_line(world: &mut World, key: &str) -> TaskId {
    world.create(|r| r.ordering_key = Some(key.into()))
}

fn cancelling(world: &mut World, key: &str) -> TaskId {
    world.create(|r| {
        r.ordering_key = Some(key.into());
        r.on_failure = Some("cancelRest".into());
        r.max_retries = Some(0);
    })
}

fn called(world: &World) -> Vec<TaskId> {
    world.calls.iter().map(|call| call.task).collect()
}

#[test]
fn the_next_of_a_key_starts_when_the_end_of_the_one_before_is_stored() {
    let mut world = World::new();
    let first = in_line(&mut world, "a");
    let second = in_line(&mut world, "a");
    let other = in_line(&mut world, "b");
    let free = world.create(|_| {});
    world.serve(10);
    assert_eq!(called(&world), [first, other, free]);
    let call = world.calls.remove(0);
    let now = world.now;
    world
        .dispatcher
        .attempt_ended(call.task, call.attempt, answered(200), now);
    let mut actions = Vec::new();
    world.dispatcher.fill(10, now, &mut actions);
    assert_eq!(world.dispatcher.wanted_slots(), 0, "its end is not stored");
    world.append();
    world.serve(10);
    assert_eq!(called(&world), [other, free, second]);
}

#[test]
fn a_head_that_pauses_or_is_delayed_holds_those_behind_it() {
    let mut world = World::new();
    let first = world.create(|r| {
        r.ordering_key = Some("a".into());
        r.delay = Some(Length::Seconds(60.0));
        r.max_retries = Some(1);
    });
    let second = world.create(|r| {
        r.ordering_key = Some("a".into());
        r.priority = Some(10);
    });
    world.serve(10);
    assert_eq!(called(&world), []);
    world.pass(Duration::from_secs(60));
    world.serve(10);
    assert_eq!(called(&world), [first]);
    world.end_call(answered(500));
    world.serve(10);
    assert_eq!(called(&world), [], "the first one is retried first");
    world.pass(Duration::from_secs(2));
    world.serve(10);
    world.end_call(answered(500));
    world.serve(10);
    assert_eq!(called(&world), [second], "a failure is skipped");
}

#[test]
fn a_failure_that_cancels_the_rest_says_so_and_leaves_later_ones_alone() {
    let mut world = World::new();
    let first = cancelling(&mut world, "a");
    let behind = [in_line(&mut world, "a"), in_line(&mut world, "a")];
    world.serve(10);
    world.end_call(answered(500));
    let later = in_line(&mut world, "a");
    world.pass(Duration::ZERO);
    world.append();
    for id in behind {
        assert_eq!(world.kinds(id), ["created", "cancelled"]);
        let told = world.log.iter().find_map(|event| match event {
            TaskEvent::Cancelled(cancelled) if cancelled.id == id => cancelled.after,
            _ => None,
        });
        assert_eq!(told, Some(first));
    }
    world.serve(10);
    assert_eq!(called(&world), [later]);
}

#[test]
fn what_is_created_before_a_failure_but_read_after_it_is_left_alone_in_a_replay_too() {
    let mut world = World::new();
    let first = cancelling(&mut world, "a");
    world.serve(10);
    // A creation that the owner has not read yet when it decides.
    let call = world.calls.remove(0);
    let now = world.now;
    world
        .dispatcher
        .attempt_ended(call.task, call.attempt, answered(500), now);
    let late = in_line(&mut world, "a");
    world.append();
    world.pass(Duration::ZERO);
    world.append();
    assert_eq!(world.kinds(first).last(), Some(&"dead"));
    world.crash(None);
    world.serve(10);
    assert_eq!(called(&world), [late]);
}

#[test]
fn a_new_owner_cancels_what_the_former_could_not() {
    for with_snapshot in [false, true] {
        let mut world = World::new();
        cancelling(&mut world, "a");
        let behind = in_line(&mut world, "a");
        world.serve(10);
        world.end_call(answered(500));
        // The failure is stored, and the cancellation is not.
        let snapshot = world.dispatcher.snapshot().filter(|_| with_snapshot);
        assert_eq!(world.kinds(behind), ["created"]);
        world.crash(snapshot);
        world.append();
        assert_eq!(world.kinds(behind), ["created", "cancelled"]);
    }
}

#[test]
fn the_log_keeps_a_failure_until_its_cancellations_are_stored() {
    let mut world = World::new();
    cancelling(&mut world, "a");
    let behind = in_line(&mut world, "a");
    world.serve(10);
    world.end_call(answered(500));
    assert_eq!(world.dispatcher.oldest_needed(), Some(StreamSeq(1)));
    world.purge();
    world.crash(None);
    world.append();
    assert_eq!(world.kinds(behind).last(), Some(&"cancelled"));
    assert_eq!(world.dispatcher.oldest_needed(), None);
}

#[test]
fn a_task_that_waits_is_told_why() {
    let mut world = World::new();
    let told = |world: &World, id, full: Option<Blocker>| {
        let explained = world
            .dispatcher
            .explain(id, &World::team(), world.now, |_| full);
        let explained = explained.expect("an open task");
        let team = &World::team();
        let blocker = world.dispatcher.blocker(id, team, world.now, |_| full);
        let told = (explained.blocker, explained.limit.clone());
        assert_eq!(blocker, Some(told));
        Explained {
            waits: Vec::new(),
            known_since: None,
            ..explained
        }
    };
    let later = |world: &World, seconds| world.now.wall.plus(Duration::from_secs(seconds));
    let head = world.create(|r| {
        r.ordering_key = Some("a".into());
        r.delay = Some(Length::Seconds(60.0));
    });
    let behind = in_line(&mut world, "a");
    let free: Vec<_> = (0..3).map(|_| world.create(|_| {})).collect();
    let explained = |blocker, ahead, not_before| Explained {
        blocker: Some(blocker),
        ahead,
        not_before,
        limit: None,
        waits: Vec::new(),
        known_since: None,
    };
    let until = later(&world, 60);
    assert_eq!(
        told(&world, head, None),
        explained(Blocker::NotDue { until }, None, Some(until))
    );
    let order = Blocker::OrderHead { task: head };
    assert_eq!(
        told(&world, behind, None),
        explained(order, Some(1), Some(until))
    );
    assert_eq!(
        told(&world, free[2], Some(Blocker::HostFull)),
        explained(Blocker::HostFull, Some(2), None)
    );
    assert_eq!(
        told(&world, free[0], None),
        explained(Blocker::Turn, Some(0), None)
    );
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    assert_eq!(
        told(&world, free[0], None),
        explained(Blocker::BeingStored, None, None)
    );
    world.append();
    assert_eq!(told(&world, free[0], None).blocker, None, "it runs");
    world.end_call(answered(500));
    let paused = told(&world, free[0], None);
    assert!(matches!(paused.blocker, Some(Blocker::RetryPause { .. })));
    assert!(paused.not_before > Some(world.now.wall), "{paused:?}");
    world.cancel(free[1]);
    let other = TeamId::new(START, 8);
    for (id, team) in [(free[1], &World::team()), (head, &other)] {
        let explained = world.dispatcher.explain(id, team, world.now, |_| None);
        assert_eq!(explained, None);
        let blocker = world.dispatcher.blocker(id, team, world.now, |_| None);
        assert_eq!(blocker, None);
    }
}

#[test]
fn fairness_keys_of_a_queue_take_turns() {
    let mut world = World::new();
    let of = |world: &mut World, key: &str| {
        let key = Some(key.to_owned());
        world.create(|r| r.fairness_key = key)
    };
    let many: Vec<_> = (0..4).map(|_| of(&mut world, "a")).collect();
    let few = of(&mut world, "b");
    world.serve(3);
    assert_eq!(called(&world), [many[0], few, many[1]]);
}
