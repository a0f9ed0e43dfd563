//! Purges: of what waits, and of dead letters.

use super::*;
use crate::task::TaskRow;

impl World {
    /// Asks to remove a task from the dead letters.
    pub(super) fn ask_to_purge(&mut self, task: TaskId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = PurgeLetter {
            task,
            team: Self::team(),
            queue: QueueName::default(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
        };
        self.dispatcher
            .purge_letter(request, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    fn purge_letter(&mut self, task: TaskId) -> Option<OwnerReply> {
        let ticket = self.ask_to_purge(task);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    fn cancel_if_waiting(&mut self, task: TaskId) -> Option<OwnerReply> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let request = Cancel {
            task,
            team: Self::team(),
            actor: Actor::System("test".into()),
            traceparent: None,
            ticket,
            only_waiting: true,
        };
        self.dispatcher.cancel(request, self.now, &mut actions);
        self.carry_out(actions);
        self.append();
        self.replies.get(&ticket).cloned()
    }

    /// The row of a task, by all of its events from `from` on.
    fn row_from(&self, id: TaskId, from: usize) -> TaskRow {
        let events = self.log.iter().zip(1..).skip(from);
        let of_task = events.filter(|(event, _)| event.id() == id);
        let row = of_task.fold(None, |row, (event, seq)| {
            TaskRow::evolve(row, StreamSeq(seq), event)
        });
        row.expect("a row")
    }
}

#[test]
fn what_runs_is_left_alone_and_what_waits_is_cancelled() {
    let mut world = World::new();
    let running = world.create(|_| {});
    world.serve(1);
    let waiting = world.create(|_| {});
    assert_eq!(
        world.cancel_if_waiting(running),
        Some(OwnerReply::Running),
        "an attempt is running"
    );
    assert!(matches!(
        world.cancel_if_waiting(waiting),
        Some(OwnerReply::Done { .. })
    ));
    assert_eq!(world.cut_off, []);
    world.end_call(answered(500));
    // It pauses before its retry.
    assert!(matches!(
        world.cancel_if_waiting(running),
        Some(OwnerReply::Done { .. })
    ));
    assert_eq!(world.cancel_if_waiting(running), Some(OwnerReply::NotOpen));
}

#[test]
fn an_attempt_that_is_being_cut_off_counts_as_running() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    assert!(matches!(world.cancel(id), Some(OwnerReply::Done { .. })));
    assert_eq!(world.cancel_if_waiting(id), Some(OwnerReply::Running));
}

#[test]
fn only_what_has_ended_leaves_the_dead_letters() {
    let mut world = World::new();
    let id = world.create(|r| r.max_retries = Some(0));
    assert_eq!(world.purge_letter(id), Some(OwnerReply::Running));
    world.serve(1);
    assert_eq!(world.purge_letter(id), Some(OwnerReply::Running));
    world.end_call(answered(500));
    assert!(world.row_from(id, 0).is_dead_letter());
    assert!(matches!(
        world.purge_letter(id),
        Some(OwnerReply::Done { .. })
    ));
    let row = world.row_from(id, 0);
    assert!(row.is_dead() && !row.is_dead_letter());
    assert_eq!(row.purged_at, Some(world.now.wall));
    assert_eq!(
        row.status,
        crate::task::Status::Failed,
        "it stays as it ended"
    );
    assert_eq!(world.kinds(id), ["created", "started", "dead", "purged"]);
    // Nothing of it is open.
    assert_eq!(world.dispatcher.oldest_needed(), None);
}

#[test]
fn a_letter_stays_purged_when_its_webhook_is_restated() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_retries = Some(0);
        r.on_complete_url = Some("https://example.com/done".into());
    });
    world.serve(1);
    world.end_call(answered(500));
    assert_eq!(
        world.purge_letter(id),
        Some(OwnerReply::TryAgain),
        "its delivery is made"
    );
    world.serve(1);
    world.end_delivery(&answered(500));
    assert!(matches!(
        world.purge_letter(id),
        Some(OwnerReply::Done { .. })
    ));
    let before = world.row_from(id, 0);
    world.restate(9);
    world.append();
    world.purge();
    world.crash(None);
    let gone = usize::try_from(world.gone).expect("small");
    let after = world.row_from(id, gone);
    assert!(!after.is_dead_letter());
    assert_eq!(after.purged_at, before.purged_at);
    world.pass(Duration::from_secs(3_600));
    world.serve(1);
    assert_eq!(world.deliveries.len(), 1, "its webhook goes on");
}

#[test]
fn a_completed_task_is_no_dead_letter_whatever_is_asked() {
    let mut world = World::new();
    let id = world.create(|_| {});
    world.serve(1);
    world.end_call(answered(200));
    world.purge_letter(id);
    assert_eq!(world.row_from(id, 0).purged_at, None);
}
