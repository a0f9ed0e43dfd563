//! Listeners: tasks of queues and hosts that have to be listened to wait while nobody does.

use super::*;
use crate::command::Blocker;
use crate::event::{ControlEvent, ListenerOpened, ListenerReleased, ListenerRemoved};
use crate::health::TargetHost;
use crate::id::{Environment, ListenerId, QueueName};
use crate::task::waits::WaitKind;

const LEASE: Duration = Duration::from_secs(60);

fn place(queue: &str) -> Place {
    (World::team(), QueueName::parse(queue).expect("a name"))
}

fn host(name: &str) -> Compartment {
    let host = TargetHost::parse(name).expect("a host");
    Compartment::of(&World::team(), &host)
}

impl World {
    fn listens(&mut self, queue: &str, listening: Option<Listening>) {
        let rules = QueueRules {
            listening,
            ..QueueRules::default()
        };
        self.dispatcher.set_rules(&place(queue), rules, self.now);
        self.rules.insert(place(queue), rules);
        self.dispatcher.check();
    }

    fn listens_at(&mut self, name: &str, listening: Option<Listening>) {
        let rules = HostRules {
            listening,
            ..HostRules::default()
        };
        self.dispatcher.set_host_rules(host(name), rules);
        self.health.insert(host(name), rules);
        self.dispatcher.check();
    }

    fn lease(&self) -> Option<Listening> {
        Some(Listening::Until(self.now.wall.plus(LEASE)))
    }

    fn blocks_it(&self, id: TaskId) -> Option<Blocker> {
        let told = self
            .dispatcher
            .explain(id, &Self::team(), self.now, |_| None);
        told.expect("it is open").blocker
    }

    fn passes(&mut self, length: Duration) {
        self.go_on(length);
        self.dispatcher.tick(self.now);
        self.dispatcher.check();
    }

    fn called_now(&mut self) -> Vec<TaskId> {
        self.serve(10);
        self.calls.iter().map(|call| call.task).collect()
    }
}

#[test]
fn tasks_of_a_queue_wait_while_nobody_holds_a_lease_and_start_when_somebody_does() {
    let mut world = World::new();
    world.listens("a", world.lease());
    let of_a = |task: &mut TaskRequest| task.queue = Some("a".into());
    let first = world.create(of_a);
    assert_eq!(world.called_now(), [first], "somebody listens");
    world.passes(LEASE);
    let second = world.create(of_a);
    let other = world.create(|task| task.queue = Some("b".into()));
    assert_eq!(world.called_now(), [first, other]);
    assert_eq!(world.blocks_it(second), Some(Blocker::WaitingForListener));
    world.passes(Duration::from_secs(5));
    world.listens("a", world.lease());
    assert_eq!(world.called_now(), [first, other, second]);
    let waits = world.log.iter().find_map(|event| match event {
        TaskEvent::Started(started) if started.id == second => Some(started.waits.clone()),
        _ => None,
    });
    let kinds: Vec<_> = waits.iter().flatten().map(|part| part.by).collect();
    assert_eq!(kinds, [WaitKind::WaitingForListener], "its start tells");
}

#[test]
fn a_released_lease_holds_back_at_once_and_a_removed_listener_nothing() {
    let mut world = World::new();
    world.listens("a", world.lease());
    let id = world.create(|task| task.queue = Some("a".into()));
    world.dispatcher.tick(world.now);
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    assert!(!world.dispatcher.starts_paused());
    world.listens("a", Some(Listening::Over));
    assert!(
        world.dispatcher.starts_paused(),
        "a start waits for the log"
    );
    let next = world.create(|task| task.queue = Some("a".into()));
    assert_eq!(world.called_now(), [id]);
    assert!(!world.dispatcher.starts_paused());
    assert_eq!(world.blocks_it(next), Some(Blocker::WaitingForListener));
    world.listens("a", None);
    assert_eq!(world.called_now(), [id, next]);
}

#[test]
fn tasks_to_a_host_wait_while_nobody_holds_a_lease() {
    let mut world = World::new();
    world.listens_at("laptop", world.lease());
    let at = |task: &mut TaskRequest| task.target_url = Some("http://laptop/".into());
    let first = world.create(at);
    assert_eq!(world.called_now(), [first]);
    world.passes(LEASE);
    let second = world.create(at);
    let other = world.create(|task| task.target_url = Some("http://other/".into()));
    assert_eq!(world.called_now(), [first, other]);
    assert_eq!(world.blocks_it(second), Some(Blocker::WaitingForListener));
    let health = world.dispatcher.health(host("laptop"), world.now);
    assert_eq!(
        health.state,
        crate::command::HostState::Closed,
        "it is well"
    );
    assert_eq!(health.held, 1);
    world.listens_at("laptop", world.lease());
    assert_eq!(world.called_now(), [first, other, second]);
    world.listens_at("laptop", Some(Listening::Over));
    let third = world.create(at);
    assert_eq!(world.called_now(), [first, other, second]);
    world.listens_at("laptop", None);
    assert_eq!(world.called_now(), [first, other, second, third]);
}

#[test]
fn a_wall_clock_that_is_set_back_revives_no_lease() {
    let mut world = World::new();
    world.listens("a", world.lease());
    world.listens_at("laptop", world.lease());
    world.passes(LEASE);
    let of_a = world.create(|task| task.queue = Some("a".into()));
    let at_host = world.create(|task| task.target_url = Some("http://laptop/".into()));
    world.now.wall = Timestamp(world.now.wall.0 - 30_000);
    world.dispatcher.tick(world.now);
    assert_eq!(world.called_now(), []);
    for id in [of_a, at_host] {
        assert_eq!(world.blocks_it(id), Some(Blocker::WaitingForListener));
    }
}

#[test]
fn one_lease_of_several_is_enough_and_live_queues_need_none() {
    let team = World::team();
    let test = team.in_environment(Environment::Test);
    let queue = QueueName::parse("a").expect("a name");
    let listener = |number| ListenerId::new(Timestamp(1), number);
    let opened = |number, until| {
        ControlEvent::ListenerOpened(ListenerOpened {
            listener: listener(number),
            team: team.base(),
            queues: vec![queue.clone()],
            hosts: vec![TargetHost::parse("laptop").expect("a host")],
            until: Timestamp(until),
            opened_by: "key:key_4fG7aB2x".into(),
            at: Timestamp(1),
        })
    };
    let released = |number| {
        ControlEvent::ListenerReleased(ListenerReleased {
            listener: listener(number),
            team: team.base(),
            at: Timestamp(1),
        })
    };
    let removed = |number| {
        ControlEvent::ListenerRemoved(ListenerRemoved {
            listener: listener(number),
            team: team.base(),
            replaced_by: None,
            at: Timestamp(1),
        })
    };
    let mut book = ListenersBook::default();
    let place = (test.clone(), queue.clone());
    let at = Compartment::of(&test, &TargetHost::parse("laptop").expect("a host"));
    for (event, listening) in [
        (opened(1, 50), Some(Listening::Until(Timestamp(50)))),
        (opened(2, 70), Some(Listening::Until(Timestamp(70)))),
        (released(2), Some(Listening::Until(Timestamp(50)))),
        (released(1), Some(Listening::Over)),
        (removed(2), Some(Listening::Over)),
        (removed(1), None),
    ] {
        book.apply(&event);
        book.apply(&event);
        assert_eq!(book.of_place(&place), listening, "{event:?}");
        assert_eq!(book.of_host(at), listening, "{event:?}");
        assert_eq!(book.of_place(&(team.base(), queue.clone())), None);
    }
    assert_eq!(book, ListenersBook::default(), "nothing is left");
}
