//! Changes of priority.
//!
//! [`Open::priority`] is the one place from which the order of service reads it. A task that waits
//! in an order is taken out of it while the change is being stored, and put back by its new place.

use super::{Action, Dispatcher, Open, Phase, Ticket};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{PriorityChanged, TaskEvent};
use crate::id::{OperationId, TaskId, TeamId};
use crate::task::Priority;
use crate::task::change_priority::{PriorityRefused, change_priority};
use crate::time::Times;

/// A request to change the priority of a task that waits.
#[derive(Debug, Clone)]
pub struct ChangePriority {
    pub task: TaskId,
    /// Team that the task must belong to.
    pub team: TeamId,
    /// The priority that it shall have.
    pub priority: Priority,
    /// The operation that asks for it, if one does.
    pub operation: Option<OperationId>,
    /// Who asks for it.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}

impl Dispatcher {
    /// Gives a task another priority, as [`change_priority`] decides, or replies why not.
    pub fn change_priority(
        &mut self,
        request: ChangePriority,
        now: Times,
        actions: &mut Vec<Action>,
    ) {
        let ChangePriority {
            task: id,
            team,
            priority,
            operation,
            actor,
            traceparent,
            ticket,
        } = request;
        let of_team = |open: &&Open| self.lanes.names(open.lane).0 == team;
        let decided = match self.tasks.get(&id).filter(of_team) {
            Some(open) => {
                change_priority(open.outline(), open.priority, priority).map(|()| PriorityChanged {
                    id,
                    priority,
                    from: open.priority,
                    attempts: open.attempts,
                    operation,
                    at: now.wall,
                })
            }
            None => Err(PriorityRefused::NotOpen),
        };
        let reply = match decided {
            Ok(event) => {
                let asked = (actor, traceparent, ticket);
                self.decide(TaskEvent::PriorityChanged(event), Some(asked), now);
                return;
            }
            Err(PriorityRefused::NotOpen) => OwnerReply::NotOpen,
            Err(PriorityRefused::Running) => OwnerReply::Running,
            Err(PriorityRefused::Same) => OwnerReply::AlreadyRequested { seq: self.certain },
            Err(PriorityRefused::BeingDecided) => OwnerReply::TryAgain,
        };
        actions.push(Action::Reply { ticket, reply });
    }
}

impl Open {
    /// Takes in a change of its priority.
    pub(super) fn priority_changed(&mut self, event: &PriorityChanged) {
        // A snapshot may be ahead of the event.
        let is_over = event.attempts != self.attempts;
        if is_over || !matches!(self.phase, Phase::Waiting { .. } | Phase::Ready { .. }) {
            return;
        }
        self.priority = event.priority;
        self.changed_priority = Some(Box::new(event.into()));
        let history = self.history.get_or_insert_default();
        history.take_in(&TaskEvent::PriorityChanged(event.clone()));
    }
}
