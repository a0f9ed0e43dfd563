//! Failed tasks that block those behind them by their ordering key.
//!
//! Such a task stays in its line, at its place, though it has ended; so it is the head, and it is
//! not the turn of any other. It stays among the open tasks as well, so that it is restated when the
//! log drops its records: a block is never forgotten, and costs one task.
//!
//! What ends a block is an event of the failed task, whoever caused it. Of a task that does it again
//! the owner decides that as soon as it has read its creation; from that event on, the new task has
//! the place of the old one. So nothing depends on when a creation was read, nor on a creation that
//! the log has dropped.

use super::open::{Open, Phase};
use super::orders::Line;
use super::{Action, Dispatcher, Ticket};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{Blocks, TaskEvent, TaskPurged, TaskUnblocked};
use crate::id::{TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::OnFailure;
use crate::time::Times;

/// A request to let those go that wait behind a failed task.
#[derive(Debug, Clone)]
pub struct Unblock {
    pub task: TaskId,
    /// Team that the task must belong to.
    pub team: TeamId,
    /// Who asks for it.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}

impl Open {
    /// Whether the task blocks those behind it once that event has ended it.
    pub(super) fn blocks_after(&self, event: &TaskEvent) -> bool {
        let failed = matches!(event, TaskEvent::Dead(_) | TaskEvent::Expired(_));
        let order = self.order.as_ref();
        failed && order.is_some_and(|order| order.on_failure == OnFailure::Block)
    }

    /// Whether it is to be decided that another task has its place.
    pub(super) fn is_to_yield(&self) -> bool {
        let rests = matches!(self.phase, Phase::Ended { claimed: false, .. });
        self.blocks && self.heir.is_some() && rests
    }

    /// What a restatement says about its block.
    pub(super) fn blocks_as_stated(&self) -> Option<Blocks> {
        self.blocks.then_some(Blocks {
            webhook_over: self.delivered,
        })
    }
}

impl Dispatcher {
    /// Lets those go that wait behind a failed task, or replies why not.
    pub fn unblock(&mut self, request: Unblock, now: Times, actions: &mut Vec<Action>) {
        let Unblock {
            task: id,
            team,
            actor,
            traceparent,
            ticket,
        } = request;
        let of_team = |open: &&Open| self.lanes.names(open.lane).0 == team;
        let reply = match self.tasks.get(&id).filter(of_team) {
            Some(task) if task.busy => OwnerReply::TryAgain,
            Some(task) if task.blocks => match task.phase {
                // A delivery of its webhook that is made is decided about first.
                Phase::Ended { claimed: true, .. } => OwnerReply::TryAgain,
                _ => {
                    let event = TaskEvent::Unblocked(TaskUnblocked {
                        id,
                        by: None,
                        place: None,
                        at: now.wall,
                    });
                    self.decide(event, Some((actor, traceparent, ticket)), now);
                    return;
                }
            },
            Some(_) | None => OwnerReply::NotOpen,
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// Decides that another task has the place of one that blocks.
    pub(super) fn yield_place(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let event = TaskEvent::Unblocked(TaskUnblocked {
            id,
            by: task.heir,
            place: Some(task.place_in_line()),
            at: now.wall,
        });
        self.decide(event, None, now);
    }

    /// Finds the task that does a blocking one again, after either has come.
    pub(super) fn find_heir(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let (Some(line), Some(order)) = (task.line(), task.order.as_deref()) else {
            return;
        };
        let (old, heir) = if task.blocks {
            let again = |other: &TaskId| {
                let order = self
                    .tasks
                    .get(other)
                    .and_then(|other| other.order.as_deref());
                order.is_some_and(|order| order.again == Some(id))
            };
            (Some(id), self.orders.members(line).find(again))
        } else {
            (order.again, Some(id))
        };
        let (Some(old), Some(heir)) = (old, heir) else {
            return;
        };
        let waits_for_one =
            |old: &Open| old.blocks && old.heir.is_none() && old.line() == Some(line);
        if !self.tasks.get(&old).is_some_and(waits_for_one) {
            return;
        }
        self.disarm(old);
        if let Some(old) = self.tasks.get_mut(&old) {
            old.heir = Some(heir);
        }
        self.arm(old);
    }

    /// Whether a task does one again that blocks its line and stands before that place: then it comes
    /// before those behind that one, too, though it has yet to get its place.
    pub(super) fn comes_before(&self, id: TaskId, line: Line, place: StreamSeq) -> bool {
        let order = self.tasks.get(&id).and_then(|task| task.order.as_deref());
        let old = order.and_then(|order| self.tasks.get(&order.again?));
        old.is_some_and(|old| old.blocks && old.line() == Some(line) && old.place_in_line() < place)
    }

    /// Whether what is removed from the dead letters blocks others.
    pub(super) fn is_purged_block(&self, id: TaskId) -> bool {
        self.tasks.get(&id).is_some_and(|task| task.blocks)
    }

    /// Ends the block of a task that is removed from the dead letters: nobody will retry it.
    pub(super) fn purged_block(&mut self, seq: StreamSeq, event: &TaskPurged) {
        if let Some(task) = self.tasks.get_mut(&event.id) {
            let purged = TaskEvent::Purged(event.clone());
            task.history.get_or_insert_default().take_in(&purged);
        }
        let unblocked = TaskUnblocked {
            id: event.id,
            by: None,
            place: None,
            at: event.at,
        };
        self.unblocked(seq, &unblocked);
    }

    /// Ends a block, as the log says.
    pub(super) fn unblocked(&mut self, seq: StreamSeq, event: &TaskUnblocked) {
        let id = event.id;
        let mut lines: Vec<Line> = Vec::new();
        let mut needed = seq;
        self.disarm(id);
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.blocks) {
            lines.extend(task.line());
            // Whoever takes over has to know that the other one came first all along.
            needed = needed.min(task.needs());
            self.orders.leave(id, task);
            (task.blocks, task.heir) = (false, None);
            if task.delivered {
                self.forget(id);
            }
        }
        self.arm(id);
        if let (Some(by), Some(place)) = (event.by, event.place)
            && let Some(task) = self.tasks.get_mut(&by)
            && let Some(line) = task.line()
        {
            self.orders.leave(by, task);
            if let Some(order) = &mut task.order {
                order.place.get_or_insert(place);
                order.needed.get_or_insert(needed);
            }
            self.orders.enter(by, task);
            lines.push(line);
        }
        for line in lines {
            if let Some(head) = self.orders.head(line) {
                self.arm(head);
            }
        }
    }
}
