//! Changes of priority.

use super::*;
use crate::id::OperationId;
use crate::task::{Priority, TaskRow};

impl World {
    /// Asks for another priority; the answer comes when the log has stored it, or at once.
    pub(super) fn ask_for_priority(&mut self, task: TaskId, priority: u8) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = ChangePriority {
            task,
            team: Self::team(),
            priority: Priority::new(priority).expect("1 to 10"),
            operation: Some(OperationId::of_text("some")),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
        };
        self.dispatcher
            .change_priority(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    fn change_priority(&mut self, task: TaskId, priority: u8) -> Option<OwnerReply> {
        let ticket = self.ask_for_priority(task, priority);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// The row of a task, by its events after the first `skipped` of the log.
    fn row_after(&self, id: TaskId, skipped: usize) -> TaskRow {
        let events = (1..).zip(&self.log).skip(skipped);
        let of_task = events.filter(|(_, event)| event.id() == id);
        let row = of_task.fold(None, |row, (seq, event)| {
            TaskRow::evolve(row, StreamSeq(seq), event)
        });
        row.expect("a row")
    }

    /// Starts one task after the other, and returns them in that order.
    fn served(&mut self) -> Vec<TaskId> {
        let mut order = Vec::new();
        loop {
            self.serve(1);
            if self.calls.is_empty() {
                return order;
            }
            order.push(self.end_call(answered(200)));
        }
    }
}

fn priority(world: &World, id: TaskId) -> u8 {
    world
        .dispatcher
        .tasks
        .get(&id)
        .expect("open")
        .priority
        .get()
}

#[test]
fn the_order_of_service_follows_the_new_priority_at_once_and_after_a_crash() {
    for crash in [false, true] {
        let mut world = World::new();
        let ids: Vec<_> = (0..4).map(|_| world.create(|_| {})).collect();
        assert!(matches!(
            world.change_priority(ids[2], 9),
            Some(OwnerReply::Done { .. })
        ));
        assert!(matches!(
            world.change_priority(ids[0], 1),
            Some(OwnerReply::Done { .. })
        ));
        if crash {
            world.crash(None);
        }
        assert_eq!(world.served(), [ids[2], ids[1], ids[3], ids[0]]);
    }
}

#[test]
fn a_task_that_its_queue_holds_back_is_let_go_by_its_new_priority() {
    let mut world = World::new();
    let place = (World::team(), crate::id::QueueName::default());
    let rules = QueueRules {
        concurrency: Some(1),
        ..QueueRules::default()
    };
    world.dispatcher.set_rules(&place, rules, world.now);
    world.rules.insert(place, rules);
    let ids: Vec<_> = (0..3).map(|_| world.create(|_| {})).collect();
    world.serve(1);
    // The others are held back by their queue.
    world.serve(2);
    assert_eq!(world.calls.len(), 1);
    let started = world.change_priority(ids[0], 9);
    assert_eq!(started, Some(OwnerReply::Running));
    world.change_priority(ids[2], 9);
    world.end_call(answered(200));
    assert_eq!(world.served(), [ids[2], ids[1]]);
}

#[test]
fn a_change_says_why_not() {
    let mut world = World::new();
    let id = world.create(|r| r.priority = Some(4));
    let same = world.change_priority(id, 4);
    assert!(matches!(same, Some(OwnerReply::AlreadyRequested { .. })));
    let first = world.ask_for_priority(id, 5);
    let meanwhile = world.ask_for_priority(id, 6);
    assert_eq!(world.replies.get(&meanwhile), Some(&OwnerReply::TryAgain));
    world.append();
    assert!(matches!(
        world.replies.get(&first),
        Some(OwnerReply::Done { .. })
    ));
    let mut actions = Vec::new();
    let request = ChangePriority {
        task: id,
        team: TeamId::new(START, 8),
        priority: Priority::MAX,
        operation: None,
        actor: Actor::System("test".into()),
        traceparent: None,
        ticket: Ticket(99),
    };
    let now = world.now;
    world.dispatcher.change_priority(request, now, &mut actions);
    let not_open = OwnerReply::NotOpen;
    assert!(
        matches!(&actions[..], [Action::Reply { reply, .. }] if *reply == not_open),
        "another team's task is not there"
    );
    world.serve(1);
    assert_eq!(world.change_priority(id, 9), Some(OwnerReply::Running));
    world.end_call(answered(200));
    assert_eq!(world.change_priority(id, 9), Some(OwnerReply::NotOpen));
    assert_eq!(
        world.kinds(id),
        ["created", "priority_changed", "started", "succeeded"]
    );
}

#[test]
fn it_survives_a_restatement_a_purge_and_a_snapshot() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.delay = Some(Length::Seconds(3_600.0));
        r.on_complete_url = Some("http://hook/".into());
    });
    world.change_priority(id, 3);
    world.change_priority(id, 8);
    let snapshot = world.dispatcher.snapshot();
    world.crash(snapshot);
    assert_eq!(priority(&world, id), 8);
    let before = world.log.len();
    world.restate(9);
    world.append();
    world.purge();
    world.crash(None);
    assert_eq!(priority(&world, id), 8);
    let (whole, late) = (world.row_after(id, 0), world.row_after(id, before));
    assert_eq!(whole, late, "rebuilt is as it was updated");
    assert_eq!(late.priority.get(), 8);
    let changed = late.changed_priority.expect("a change");
    assert_eq!((changed.from.get(), changed.to.get()), (3, 8));
    // Nothing but its webhook is left, and that is stated anew, too.
    world.pass(Duration::from_secs(3_600));
    world.serve(1);
    world.end_call(answered(200));
    let ended = world.log.len();
    world.restate(9);
    world.append();
    assert_eq!(world.row_after(id, 0), world.row_after(id, ended));
    assert_eq!(world.row_after(id, ended).priority.get(), 8);
}

#[test]
fn a_snapshot_that_is_ahead_of_a_change_keeps_what_came_after_it() {
    let mut world = World::new();
    let id = world.create(|r| r.min_delay = Some(Length::Seconds(600.0)));
    world.create(|r| r.delay = Some(Length::Seconds(3_600.0)));
    world.change_priority(id, 8);
    world.pass(Duration::from_secs(5));
    world.serve(1);
    world.end_call(answered(500));
    let snapshot = world.dispatcher.snapshot();
    let history = |world: &World| {
        world
            .dispatcher
            .tasks
            .get(&id)
            .expect("open")
            .history
            .clone()
    };
    let before = history(&world);
    // No creation was read since, so a replay begins before the change.
    assert_eq!(world.dispatcher.snapshot_position(), StreamSeq(2));
    world.crash(snapshot);
    assert_eq!((history(&world), priority(&world, id)), (before, 8));
}
