//! Requests of clients to the owner of a task: cancelling it, running it now, and sending its webhook
//! again.

use super::{Action, Cancel, Decision, Dispatcher, Open, Phase, RunNow, Ticket};
use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{Blocks, CancelRequested, TaskEvent, TaskRestated};
use crate::task::cancel::{self, CancelRefused, Cancellation};
use crate::task::run_now::{self, RunRefused};
use crate::time::Times;

impl Dispatcher {
    /// Cancels a task, as [`cancel`] decides, or replies why not.
    pub fn cancel(&mut self, request: Cancel, now: Times, actions: &mut Vec<Action>) {
        let Cancel {
            task: id,
            team,
            actor,
            traceparent,
            ticket,
            only_waiting,
        } = request;
        let of_team = |open: &&Open| self.lanes.names(open.lane).0 == team;
        let decided = match self.tasks.get(&id).filter(of_team) {
            Some(open) => cancel::cancel(id, open.outline(), now.wall),
            None => Err(CancelRefused::NotOpen),
        };
        let asked = (actor, traceparent, ticket);
        let reply = match decided {
            Ok(Cancellation::Ends(event)) => {
                self.decide(TaskEvent::Cancelled(*event), Some(asked), now);
                return;
            }
            Ok(Cancellation::CutsOff(_)) | Err(CancelRefused::AlreadyRequested) if only_waiting => {
                OwnerReply::Running
            }
            Ok(Cancellation::CutsOff(event)) => {
                self.request_cancel(event, asked, now);
                return;
            }
            Err(CancelRefused::NotOpen) => OwnerReply::NotOpen,
            Err(CancelRefused::AlreadyRequested) => {
                OwnerReply::AlreadyRequested { seq: self.certain }
            }
            Err(CancelRefused::BeingDecided) => OwnerReply::TryAgain,
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// Makes a task ready that waits for its time or for its retry, as [`run_now`] decides, or
    /// replies why not.
    pub fn run_now(&mut self, request: RunNow, now: Times, actions: &mut Vec<Action>) {
        let RunNow {
            task: id,
            team,
            actor,
            traceparent,
            ticket,
        } = request;
        let of_team = |open: &&Open| self.lanes.names(open.lane).0 == team;
        let decided = match self.tasks.get(&id).filter(of_team) {
            // A task whose time has come is made ready by its timer.
            Some(open) => {
                let waits = matches!(open.phase, Phase::Waiting { .. }) && !open.has_waited(now);
                run_now::run_now(id, open.outline(), waits, open.attempts, now.wall)
            }
            None => Err(RunRefused::NotOpen),
        };
        let reply = match decided {
            Ok(event) => {
                let asked = (actor, traceparent, ticket);
                self.decide(TaskEvent::RunRequested(event), Some(asked), now);
                return;
            }
            Err(RunRefused::NotOpen) => OwnerReply::NotOpen,
            Err(RunRefused::Running) => OwnerReply::Running,
            Err(RunRefused::Ready) => OwnerReply::AlreadyRequested { seq: self.certain },
            Err(RunRefused::BeingDecided) => OwnerReply::TryAgain,
        };
        actions.push(Action::Reply { ticket, reply });
    }

    /// Queues a request to cut off an attempt. The task is not busy meanwhile: the attempt continues
    /// until the request is stored, and its outcome is decided after that.
    pub(super) fn request_cancel(
        &mut self,
        event: CancelRequested,
        asked: (Actor, Option<String>, Ticket),
        now: Times,
    ) {
        // It may have been about to be cut off anyway, because another one takes its place.
        let id = event.id;
        self.disarm(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        task.requesting_cancel = true;
        let (team, queue) = self.lanes.names(task.lane).clone();
        let (actor, traceparent, ticket) = asked;
        self.decided.push_back(Decision {
            event: TaskEvent::CancelRequested(event),
            team,
            queue,
            actor: Some(actor),
            traceparent,
            ticket: Some(ticket),
            decided: now.elapsed,
            is_joined: false,
        });
        self.arm(id);
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
        let mut event = event;
        if let Some(task) = self.tasks.get(&event.created.id).filter(|task| task.blocks) {
            event.blocks = Some(Blocks {
                webhook_over: false,
            });
            event.order_place = task.order.as_ref().and_then(|order| order.place);
        }
        let is_pending =
            |task: &Open| task.busy || !matches!(task.phase, Phase::Ended { claimed: false, .. });
        let id = event.created.id;
        // The letter may be about to be purged, which the restored task must know.
        if self
            .tasks
            .get(&id)
            .map_or_else(|| self.is_being_decided(id), is_pending)
        {
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
            is_joined: false,
        });
    }
}
