//! Removing ended tasks from the dead letters.
//!
//! An ended task is none of the dispatcher's, unless its webhook is still to be delivered. But only
//! the owner may append, and only it knows that the task has ended: whatever it does not know, once
//! it has read the log, is over.

use super::{Action, Decision, Dispatcher, Phase, PurgeLetter};
use crate::command::OwnerReply;
use crate::event::{TaskEvent, TaskPurged};
use crate::id::TaskId;
use crate::time::Times;

impl Dispatcher {
    /// Removes a task from the dead letters, or replies why not. Whoever asks has seen that it
    /// failed for good.
    pub fn purge_letter(&mut self, request: PurgeLetter, now: Times, actions: &mut Vec<Action>) {
        let PurgeLetter {
            task: id,
            team,
            queue,
            actor,
            traceparent,
            ticket,
        } = request;
        let event = TaskEvent::Purged(TaskPurged { id, at: now.wall });
        let Some(task) = self.tasks.get(&id) else {
            if self.is_being_decided(id) {
                let reply = OwnerReply::TryAgain;
                actions.push(Action::Reply { ticket, reply });
                return;
            }
            self.decided.push_back(Decision {
                event,
                team,
                queue,
                actor: Some(actor),
                traceparent,
                ticket: Some(ticket),
                decided: now.elapsed,
                is_joined: false,
            });
            return;
        };
        let reply = match task.phase {
            _ if self.lanes.names(task.lane).0 != team => OwnerReply::NotOpen,
            // A delivery of its webhook that is made is decided about first.
            Phase::Ended { claimed, .. } if claimed || task.busy => OwnerReply::TryAgain,
            Phase::Ended { .. } => {
                self.decide(event, Some((actor, traceparent, ticket)), now);
                return;
            }
            Phase::Waiting { .. } | Phase::Ready { .. } | Phase::Running { .. } => {
                OwnerReply::Running
            }
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// Whether a decision about a task waits for the log; the task itself may be forgotten.
    pub(super) fn is_being_decided(&self, id: TaskId) -> bool {
        let mut pending = self.in_flight.iter().chain(&self.decided);
        pending.any(|decision| decision.event.id() == id)
    }
}
