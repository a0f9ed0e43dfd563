//! Cancelling the members of a workflow in one decision: all that have not ended, or none.
//!
//! Their events are stored in one append, whole or not at all. So no crash leaves a part of them to
//! go on, and nothing of the workflow starts between the first and the last of them. About some of
//! them another decision may be waiting for the log: until it is stored the request waits, and none
//! of them starts meanwhile, so that it does not wait for long.

use std::collections::HashSet;

use super::action::{Action, Ticket};
use super::{Dispatcher, Open};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::TaskEvent;
use crate::id::{TaskId, TeamId};
use crate::task::cancel::{self, CancelRefused, Cancellation, RequestStage, Stage};
use crate::time::Times;

/// A request to cancel tasks of workflows together.
#[derive(Debug, Clone)]
pub struct CancelTogether {
    pub tasks: Vec<TaskId>,
    /// Team that the tasks must belong to; others are left alone.
    pub team: TeamId,
    /// Who cancels them.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}

/// The requests that wait until nothing else is being decided about their tasks.
#[derive(Debug, Default)]
pub(super) struct Together {
    waiting: Vec<CancelTogether>,
    /// Their tasks.
    held: HashSet<TaskId>,
}

impl Together {
    /// Whether a task must not start, since it is about to be cancelled.
    pub(super) fn holds(&self, id: TaskId) -> bool {
        self.held.contains(&id)
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.waiting.iter().map(|request| request.ticket)
    }
}

impl Dispatcher {
    /// Cancels tasks together: as soon as nothing else is being decided about any of them.
    pub fn cancel_together(
        &mut self,
        mut request: CancelTogether,
        now: Times,
        actions: &mut Vec<Action>,
    ) {
        request.tasks.retain(|id| {
            let task = self.tasks.get(id);
            task.is_some_and(|task| self.lanes.names(task.lane).0 == request.team)
        });
        if self.is_settled(&request) {
            self.cancel_all(request, now, actions);
            return;
        }
        for id in &request.tasks {
            self.disarm(*id);
        }
        self.together.held.extend(&request.tasks);
        for id in &request.tasks {
            self.arm(*id);
        }
        self.together.waiting.push(request);
    }

    /// Decisions were stored: cancels what waited for them.
    pub(super) fn cancel_what_waits(&mut self, actions: &mut Vec<Action>) {
        let now = self.now;
        for request in std::mem::take(&mut self.together.waiting) {
            if self.is_settled(&request) {
                self.cancel_all(request, now, actions);
            } else {
                self.together.waiting.push(request);
            }
        }
        let waiting = self.together.waiting.iter();
        self.together.held = waiting
            .flat_map(|request| &request.tasks)
            .copied()
            .collect();
    }

    /// Whether nothing else is being decided about the tasks.
    fn is_settled(&self, request: &CancelTogether) -> bool {
        let is_settled = |task: &Open| {
            let outline = task.outline();
            let is_asked = outline.request == RequestStage::Pending;
            outline.stage == Stage::Ended || !(outline.is_being_decided || is_asked)
        };
        let mut tasks = request.tasks.iter().filter_map(|id| self.tasks.get(id));
        tasks.all(is_settled)
    }

    fn cancel_all(&mut self, request: CancelTogether, now: Times, actions: &mut Vec<Action>) {
        let CancelTogether {
            tasks,
            actor,
            traceparent,
            ticket,
            ..
        } = request;
        let begin = self.decided.len();
        let mut is_requested = false;
        for id in tasks {
            let Some(task) = self.tasks.get(&id) else {
                continue;
            };
            match cancel::cancel(id, task.outline(), now.wall) {
                Ok(Cancellation::Ends(event)) => {
                    self.decide(TaskEvent::Cancelled(*event), None, now);
                }
                Ok(Cancellation::CutsOff(event)) => {
                    self.request_cancel(event, (actor.clone(), None, ticket), now);
                }
                Err(CancelRefused::AlreadyRequested) => is_requested = true,
                Err(CancelRefused::NotOpen | CancelRefused::BeingDecided) => {}
            }
        }
        let mut decisions = self.decided.range_mut(begin..).rev();
        if let Some(last) = decisions.next() {
            last.actor = Some(actor.clone());
            last.traceparent.clone_from(&traceparent);
            last.ticket = Some(ticket);
            for decision in decisions {
                decision.actor = Some(actor.clone());
                decision.traceparent.clone_from(&traceparent);
                decision.ticket = None;
                decision.is_joined = true;
            }
            return;
        }
        let seq = self.certain;
        let reply = if is_requested {
            OwnerReply::AlreadyRequested { seq }
        } else {
            OwnerReply::NotOpen
        };
        actions.push(Action::Reply { ticket, reply });
    }
}
