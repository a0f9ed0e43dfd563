//! What clients ask for, and that nothing else is done in their name.

use waybill_domain::command::OwnerReply;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_log::Record;

use super::{Asked, Ledger, Replied};

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Cancel,
    /// Cancelled only if no attempt is running.
    CancelWaiting,
    /// Removed from the dead letters.
    PurgeLetter,
}

impl Ledger {
    /// Somebody must have asked for the event, and for no less than it does.
    pub(super) fn wished_for(&mut self, id: TaskId, record: &Record, event: &TaskEvent) {
        let asked = self
            .asked
            .iter_mut()
            .find(|asked| asked.task == id && asked.actor == record.actor);
        match asked {
            Some(asked) => {
                asked.stored = Some(record.seq);
                let wish = asked.wish;
                let right = match event {
                    TaskEvent::CancelRequested(_) => wish == Wish::Cancel,
                    TaskEvent::Purged(_) => wish == Wish::PurgeLetter,
                    _ => wish != Wish::PurgeLetter,
                };
                if !right {
                    let actor = &record.actor;
                    self.broken(format!(
                        "{actor} asked for {wish:?} of {id}, not for {event:?}"
                    ));
                }
            }
            None => self.broken(format!(
                "{} of {id} by {}, who did not ask",
                record.event, record.actor
            )),
        }
    }

    /// Whether the log has the creation of a task.
    pub(crate) fn has(&self, id: TaskId) -> bool {
        self.lives.contains_key(&id)
    }

    /// From now on, nothing of the queue may be started.
    pub(in super::super) fn pause_answered(&mut self, team: &TeamId, queue: &QueueName) {
        self.count("paused");
        self.paused.insert((team.clone(), queue.clone()));
    }

    pub(in super::super) fn resumed(&mut self, team: &TeamId, queue: &QueueName) {
        self.paused.remove(&(team.clone(), queue.clone()));
    }

    /// From now on, nothing of the queue may be started: nobody listens to it.
    pub(in super::super) fn release_answered(&mut self, team: &TeamId, queue: &QueueName) {
        self.count("released");
        self.unheard.insert((team.clone(), queue.clone()));
    }

    pub(in super::super) fn listened_to(&mut self, team: &TeamId, queue: &QueueName) {
        self.unheard.remove(&(team.clone(), queue.clone()));
    }

    /// From now on, nothing of the team may be started at its host.
    pub(in super::super) fn open_answered(&mut self, team: &TeamId) {
        self.count("opened by hand");
        self.held.insert(team.clone());
    }

    pub(in super::super) fn closed(&mut self, team: &TeamId) {
        self.held.remove(team);
    }

    /// Records that a client asks for a cancellation. The returned number identifies it for
    /// [`Ledger::replied`].
    pub(crate) fn asks(&mut self, task: TaskId, wish: Wish, actor: String) -> usize {
        let knew = self.accepted.contains(&task);
        self.asked.push(Asked {
            task,
            wish,
            actor,
            knew,
            replies: Vec::new(),
            stored: None,
        });
        self.asked.len() - 1
    }

    pub(crate) fn replied(&mut self, number: usize, reply: OwnerReply) {
        self.count(match reply {
            OwnerReply::Done { .. } => "cancel done",
            OwnerReply::Running => "cancel running",
            OwnerReply::AlreadyRequested { .. } => "cancel already requested",
            OwnerReply::NotOpen => "cancel not open",
            OwnerReply::Explained(_)
            | OwnerReply::ExplainedMany(_)
            | OwnerReply::ExplainedWithKeys(_) => "explained",
            OwnerReply::Health(_) => "health",
            OwnerReply::Granted(_) | OwnerReply::Limits(_) | OwnerReply::Noted => "told of limits",
            OwnerReply::TryAgain => "cancel try again",
            OwnerReply::Claimed(_)
            | OwnerReply::Reported { .. }
            | OwnerReply::Extended { .. }
            | OwnerReply::LeaseLost
            | OwnerReply::Several(_)
            | OwnerReply::Workers(_) => "told of claims",
        });
        if let Some(asked) = self.asked.get_mut(number) {
            let life = self.lives.get(&asked.task);
            asked.replies.push(Replied {
                ended_then: life.is_some_and(|life| life.ended),
                requested_then: life.is_some_and(|life| life.cancel_requested),
                reply,
            });
        }
    }
}
