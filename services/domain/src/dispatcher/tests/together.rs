//! Cancelling the members of a workflow in one decision.

use super::members::{flow, node};
use super::*;

impl World {
    fn ask_to_cancel(&mut self, tasks: &[TaskId]) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = CancelTogether {
            tasks: tasks.to_vec(),
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: Some("a trace".into()),
            ticket,
        };
        self.dispatcher
            .cancel_together(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    /// What the next append has to store, however little is wanted.
    fn next_append(&mut self) -> Vec<(TaskId, &'static str)> {
        let decisions = self.dispatcher.begin_append(1).unwrap_or_default();
        let stored = decisions
            .iter()
            .map(|of| (of.event.id(), of.event.kind()))
            .collect();
        for of in decisions {
            assert_eq!(of.actor, Some(Actor::System("test".into())));
            assert_eq!(of.traceparent.as_deref(), Some("a trace"));
        }
        self.dispatcher.not_appended();
        stored
    }
}

#[test]
fn all_that_has_not_ended_is_cancelled_in_one_append() {
    let mut world = World::new();
    let ids = world.make(&flow(&[node(&[]), node(&[]), node(&[1]), node(&[2])]));
    let other = world.create(|_| {});
    world.serve(10);
    world.end_call_of(ids[0], 200);
    world.ask_to_cancel(&ids);
    let whole = [
        (ids[1], "cancel_requested"),
        (ids[2], "cancelled"),
        (ids[3], "cancelled"),
    ];
    // Also when the log has not taken it the first time.
    for _ in 0..2 {
        assert_eq!(world.next_append(), whole);
    }
    let ticket = Ticket(world.tickets);
    let before = world.log.len() as u64;
    world.append();
    let seq = StreamSeq(before + 3);
    assert_eq!(world.replies.get(&ticket), Some(&OwnerReply::Done { seq }));
    assert_eq!(world.cut_off, [Running::attempt(ids[1], 1)]);
    // By their client, and not because of each other.
    assert_eq!(world.cancelled_for(ids[3]), None);
    assert!(world.dispatcher.is_open(other));
    let again = world.ask_to_cancel(&ids);
    let asked = world.replies.get(&again);
    assert!(matches!(asked, Some(OwnerReply::AlreadyRequested { .. })));
    let ended = world.ask_to_cancel(&[ids[0], ids[2]]);
    assert_eq!(world.replies.get(&ended), Some(&OwnerReply::NotOpen));
}

#[test]
fn a_cancellation_waits_for_what_is_being_decided_and_nothing_starts_meanwhile() {
    let mut world = World::new();
    let ids = world.make(&flow(&[node(&[]), node(&[]), node(&[]), node(&[0, 1])]));
    let mut actions = Vec::new();
    world.dispatcher.fill(1, world.now, &mut actions);
    let seqs = {
        let decisions = world.dispatcher.begin_append(10).expect("a start");
        assert_eq!(decisions.len(), 1);
        let event = decisions[0].event.clone();
        [world.store(event)]
    };
    let ticket = world.ask_to_cancel(&ids);
    assert_eq!(world.replies.get(&ticket), None);
    assert!(world.dispatcher.waiting_tickets().contains(&ticket));
    // There are slots, and two that are ready.
    world.dispatcher.fill(10, world.now, &mut actions);
    assert!(!world.dispatcher.has_decided());
    world.dispatcher.appended(&seqs, &mut actions);
    world.carry_out(actions);
    assert_eq!(world.next_append().len(), 4);
    world.append();
    assert!(matches!(
        world.replies.get(&ticket),
        Some(OwnerReply::Done { .. })
    ));
    assert_eq!(world.cut_off, [Running::attempt(ids[0], 1)]);
    world.serve(10);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn two_requests_at_once_cancel_once() {
    let mut world = World::new();
    let ids = world.make(&flow(&[node(&[]), node(&[0])]));
    let first = world.ask_to_cancel(&ids);
    let second = world.ask_to_cancel(&ids);
    assert_eq!(world.replies.get(&second), None);
    world.append();
    let done = OwnerReply::Done { seq: StreamSeq(4) };
    assert_eq!(world.replies.get(&first), Some(&done));
    assert_eq!(world.replies.get(&second), Some(&OwnerReply::NotOpen));
    assert_eq!(world.dispatcher.open(), 0);
}

#[test]
fn what_is_of_another_team_is_left_alone() {
    let mut world = World::new();
    let ids = world.make(&flow(&[node(&[]), node(&[0])]));
    let mut actions = Vec::new();
    let request = CancelTogether {
        tasks: ids,
        team: TeamId::new(START, 8),
        actor: Actor::System("test".into()),
        traceparent: None,
        ticket: Ticket(1),
    };
    world
        .dispatcher
        .cancel_together(request, world.now, &mut actions);
    world.carry_out(actions);
    assert_eq!(world.replies.get(&Ticket(1)), Some(&OwnerReply::NotOpen));
    assert_eq!(world.dispatcher.open(), 2);
}
