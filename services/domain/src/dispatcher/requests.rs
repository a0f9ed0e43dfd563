//! Requests of clients to the owner of a task: cancelling it, and sending its webhook again.

use super::{Action, Cancel, Decision, Dispatcher, Open, Phase, Ticket};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{CancelRequested, TaskCancelled, TaskEvent, TaskRestated};
use crate::id::TaskId;
use crate::time::Times;

impl Dispatcher {
    /// Cancels a task, or replies why not. A running attempt is cut off once the log has stored the
    /// request: whether its outcome or the cancellation is decided first determines how the task
    /// ends.
    pub fn cancel(&mut self, request: Cancel, now: Times, actions: &mut Vec<Action>) {
        let Cancel {
            task: id,
            team,
            actor,
            traceparent,
            ticket,
        } = request;
        let reply = match self.tasks.get(&id) {
            Some(open) if self.lanes.names(open.lane).0 != team => OwnerReply::NotOpen,
            None
            | Some(Open {
                phase: Phase::Ended { .. },
                ..
            }) => OwnerReply::NotOpen,
            Some(Open { busy: true, .. }) => OwnerReply::TryAgain,
            Some(Open {
                cancel_requested: Some(_),
                ..
            }) => OwnerReply::AlreadyRequested { seq: self.certain },
            Some(Open {
                requesting_cancel: true,
                ..
            }) => OwnerReply::TryAgain,
            Some(Open {
                phase: Phase::Running { attempt },
                ..
            }) => {
                let attempt = *attempt;
                self.request_cancel(id, attempt, (actor, traceparent, ticket), now);
                return;
            }
            Some(Open {
                phase: Phase::Waiting { .. } | Phase::Ready { .. },
                ..
            }) => {
                let event = TaskEvent::Cancelled(TaskCancelled::idle(id, now.wall));
                self.decide(event, Some((actor, traceparent, ticket)), now);
                return;
            }
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// Decides to cut off an attempt. The task is not busy meanwhile: the attempt continues until
    /// the request is stored, and its outcome is decided after that.
    fn request_cancel(
        &mut self,
        id: TaskId,
        attempt: u32,
        asked: (Actor, Option<String>, Ticket),
        now: Times,
    ) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.requesting_cancel = true;
        let (team, queue) = self.lanes.names(task.lane).clone();
        let (actor, traceparent, ticket) = asked;
        self.decided.push_back(Decision {
            event: TaskEvent::CancelRequested(CancelRequested {
                id,
                attempt,
                at: now.wall,
            }),
            team,
            queue,
            actor: Some(actor),
            traceparent,
            ticket: Some(ticket),
            decided: now.elapsed,
        });
    }

    /// Sends the completion webhook of an ended task again. `event` has the task and its end, as
    /// read from the log.
    pub fn redeliver(
        &mut self,
        event: TaskRestated,
        asked: (Actor, Option<String>, Ticket),
        now: Times,
        actions: &mut Vec<Action>,
    ) {
        let (actor, traceparent, ticket) = asked;
        let is_pending =
            |task: &Open| task.busy || !matches!(task.phase, Phase::Ended { claimed: false, .. });
        if self.tasks.get(&event.created.id).is_some_and(is_pending) {
            let reply = OwnerReply::TryAgain;
            actions.push(Action::Reply { ticket, reply });
            return;
        }
        self.decided.push_back(Decision {
            team: event.created.team.clone(),
            queue: event.created.queue.clone(),
            event: TaskEvent::CallbackRequested(Box::new(event)),
            actor: Some(actor),
            traceparent,
            ticket: Some(ticket),
            decided: now.elapsed,
        });
    }
}
