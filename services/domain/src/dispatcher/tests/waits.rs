//! What has kept tasks from running: it is told part by part, with their starts and ends.

use super::ordering::in_line;
use super::*;
use crate::id::{LimitKey, QueueName};
use crate::limit::LimitId;
use crate::task::request::LimitRequest;
use crate::task::waits::{MAX_WAITS, WaitKind, Waited};

fn place() -> Place {
    (World::team(), QueueName::parse("mail").expect("a name"))
}

fn rules(paused: bool, concurrency: Option<u32>) -> QueueRules {
    QueueRules {
        paused: paused.then_some(Hold::Open),
        concurrency,
        ..QueueRules::default()
    }
}

impl World {
    fn seconds(&self, at: Timestamp) -> i64 {
        (at.0 - START.0) / 1_000
    }

    /// What the last start or end of a task says, with the seconds from the beginning.
    fn told_waits(&self, id: TaskId) -> Vec<(i64, WaitKind)> {
        let waits = match self.events(id).pop() {
            Some(TaskEvent::Started(e)) => e.waits,
            Some(TaskEvent::Expired(e)) => e.waits,
            Some(TaskEvent::Cancelled(e)) => e.waits,
            other => panic!("neither a start nor an end: {other:?}"),
        };
        self.in_seconds(&waits)
    }

    fn in_seconds(&self, waits: &[Waited]) -> Vec<(i64, WaitKind)> {
        let waits = waits.iter();
        waits
            .map(|part| (self.seconds(part.from), part.by))
            .collect()
    }

    fn waits_now(&self, id: TaskId) -> (Vec<(i64, WaitKind)>, Option<i64>) {
        let told = self
            .dispatcher
            .explain(id, &Self::team(), self.now, |_| None)
            .expect("open");
        let known = told.known_since.map(|at| self.seconds(at));
        (self.in_seconds(&told.waits), known)
    }

    fn in_mail(&mut self) -> TaskId {
        self.create(|task| task.queue = Some("mail".into()))
    }

    fn wait(&mut self, seconds: u64) {
        self.go_on(Duration::from_secs(seconds));
        self.serve(10);
    }

    fn set(&mut self, rules: QueueRules) {
        self.dispatcher.set_rules(&place(), rules, self.now);
        self.rules.insert(place(), rules);
    }
}

#[test]
fn the_pauses_and_limits_of_a_queue_are_told_with_the_start() {
    let mut world = World::new();
    world.set(rules(false, Some(1)));
    let first = world.in_mail();
    world.serve(10);
    assert_eq!(world.told_waits(first), []);
    let second = world.in_mail();
    world.wait(1);
    world.set(rules(true, Some(1)));
    world.wait(2);
    world.set(rules(false, Some(1)));
    world.wait(2);
    let expected = [
        (0, WaitKind::QueueConcurrency),
        (1, WaitKind::QueuePaused),
        (3, WaitKind::QueueConcurrency),
    ];
    assert_eq!(world.waits_now(second), (expected.to_vec(), None));
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(world.told_waits(second), expected);
}

#[test]
fn the_place_behind_another_and_the_turn_after_it_are_told() {
    let mut world = World::new();
    in_line(&mut world, "a");
    let second = in_line(&mut world, "a");
    world.serve(10);
    world.wait(5);
    world.end_call(answered(200));
    world.go_on(Duration::from_secs(2));
    world.serve(1);
    let expected = [(0, WaitKind::Order), (5, WaitKind::Turn)];
    assert_eq!(world.told_waits(second), expected);
}

#[test]
fn what_holds_a_task_back_is_told_however_short_it_is() {
    let mut world = World::new();
    in_line(&mut world, "a");
    let second = in_line(&mut world, "a");
    world.serve(10);
    world.go_on(Duration::from_millis(2));
    world.end_call(answered(200));
    world.serve(10);
    assert_eq!(world.told_waits(second), [(0, WaitKind::Order)]);
}

#[test]
fn one_thing_that_holds_a_task_back_after_another_is_told() {
    let mut world = World::new();
    world.set(rules(false, Some(1)));
    let in_line = |world: &mut World| {
        world.create(|task| {
            task.queue = Some("mail".into());
            task.ordering_key = Some("a".into());
        })
    };
    let (_, second) = (in_line(&mut world), in_line(&mut world));
    // It goes before those that were created earlier.
    world.create(|task| {
        task.queue = Some("mail".into());
        task.priority = Some(10);
    });
    world.serve(10);
    world.wait(5);
    world.end_call(answered(200));
    world.serve(10);
    world.wait(2);
    world.end_call(answered(200));
    world.serve(10);
    let expected = [(0, WaitKind::Order), (5, WaitKind::QueueConcurrency)];
    assert_eq!(world.told_waits(second), expected);
}

#[test]
fn a_limit_and_its_pause_are_told() {
    let mut world = World::new();
    let limited = world.create(|task| {
        task.limits = Some(vec![LimitRequest {
            key: Some("k".into()),
            concurrency: Some(1),
            rate: None,
        }]);
    });
    let key = LimitKey::parse("k").expect("a key");
    let limit = LimitId::of(&World::team(), &key);
    world.wait(1);
    let paused = LimitRules {
        paused: Some(Hold::Until(world.now.wall.plus(Duration::from_secs(3)))),
        ..LimitRules::default()
    };
    world.dispatcher.set_limit_rules(limit, paused, world.now);
    world.wait(6);
    let told = world
        .dispatcher
        .explain(limited, &World::team(), world.now, |_| None)
        .expect("open");
    assert!(
        told.waits
            .iter()
            .all(|part| part.limit.as_ref() == Some(&key))
    );
    let expected = [
        (0, WaitKind::LimitConcurrency),
        (1, WaitKind::LimitPaused),
        (4, WaitKind::LimitConcurrency),
    ];
    assert_eq!(world.in_seconds(&told.waits), expected);
}

#[test]
fn a_task_that_expires_says_what_it_waited_for() {
    let mut world = World::new();
    world.set(rules(true, None));
    let task = world.create(|task| {
        task.queue = Some("mail".into());
        task.expires_in = Some(Length::Seconds(10.0));
    });
    world.wait(11);
    assert_eq!(world.told_waits(task), [(0, WaitKind::QueuePaused)]);
}

#[test]
fn a_task_that_only_waits_for_its_turn_is_not_marked() {
    let mut world = World::new();
    let task = world.in_mail();
    world.serve(0);
    world.wait(5);
    assert_eq!(world.told_waits(task), []);
}

#[test]
fn a_new_owner_knows_its_own_part_and_what_cannot_have_been_otherwise() {
    let mut world = World::new();
    world.set(rules(true, None));
    let held = world.in_mail();
    in_line(&mut world, "a");
    let behind = in_line(&mut world, "a");
    world.go_on(Duration::from_secs(7));
    world.crash(None);
    world.go_on(Duration::from_secs(1));
    assert_eq!(
        world.waits_now(held),
        (vec![(7, WaitKind::QueuePaused)], Some(7))
    );
    assert_eq!(world.waits_now(behind), (vec![(0, WaitKind::Order)], None));
}

#[test]
fn however_often_it_changes_the_latest_parts_are_kept() {
    let mut world = World::new();
    world.set(rules(true, None));
    let task = world.in_mail();
    for _ in 0..3 * MAX_WAITS {
        world.go_on(Duration::from_secs(1));
        world.set(rules(false, Some(0)));
        world.go_on(Duration::from_secs(1));
        world.set(rules(true, Some(0)));
    }
    let (waits, known) = world.waits_now(task);
    assert_eq!(waits.len(), MAX_WAITS);
    assert_eq!(known, Some(waits[0].0));
    let until = i64::try_from(6 * MAX_WAITS).expect("small");
    let last = until - i64::try_from(MAX_WAITS).expect("small");
    assert!(known >= Some(last), "{known:?} {waits:?}");
}

#[test]
#[should_panic(expected = "marked as it waits")]
fn a_mark_that_is_missing_is_noticed() {
    let mut world = World::new();
    in_line(&mut world, "a");
    in_line(&mut world, "a");
    world.dispatcher.marked = Marked::default();
    world.dispatcher.check();
}
