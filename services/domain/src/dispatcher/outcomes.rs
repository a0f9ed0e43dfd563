//! Outcomes of calls: attempts at the target, and deliveries of the completion webhook.

use std::time::Duration;

use super::{Dispatcher, Phase, attempt};
use crate::event::{CallbackFailed, CallbackSent, FailureKind, TaskEvent, TaskReleased};
use crate::id::TaskId;
use crate::task::cancel;
use crate::task::retry::Outcome;
use crate::time::Times;

/// Pause after a delivery that the worker could not make.
const PUT_OFF: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// Applies the outcome of an attempt. Ignored unless it is the running one.
    pub fn attempt_ended(&mut self, id: TaskId, attempt: u32, outcome: Outcome, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.busy || task.phase != (Phase::Running { attempt }) {
            return;
        }
        let event = attempt::after(task, id, attempt, outcome, now);
        self.decide(event, None, now);
    }

    /// Records that the shell has cut an attempt short, because the worker stops or the task is
    /// cancelled, or that nobody goes on with a claim. Ignored unless it is the running one.
    pub fn attempt_released(&mut self, id: TaskId, attempt: u32, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if task.busy || task.phase != (Phase::Running { attempt }) {
            return;
        }
        let event = if task.cancel_requested.is_some() {
            TaskEvent::Cancelled(cancel::cut_off(id, attempt, now.wall))
        } else {
            TaskEvent::Released(TaskReleased {
                id,
                attempt,
                at: now.wall,
                returned: task.lease().is_some(),
            })
        };
        self.decide(event, None, now);
    }

    /// Applies the outcome of a webhook delivery: the receiver's status, or why there is none.
    pub fn delivery_ended(&mut self, id: TaskId, number: u32, outcome: &Outcome, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Phase::Ended {
            deliveries,
            claimed: true,
            ..
        } = task.phase
        else {
            return;
        };
        if task.busy || deliveries + 1 != number {
            return;
        }
        if matches!(outcome, Outcome::Failed(failure) if failure.kind == FailureKind::WorkerFault) {
            self.put_off(id, now);
            return;
        }
        let event = match attempt::delivered(outcome, task, id, number, now.wall) {
            Ok(status) => TaskEvent::CallbackSent(CallbackSent {
                id,
                attempt: number,
                at: now.wall,
                status,
            }),
            Err((failure, retry_at)) => TaskEvent::CallbackFailed(CallbackFailed {
                id,
                attempt: number,
                at: now.wall,
                failure,
                retry_at,
            }),
        };
        self.decide(event, None, now);
    }

    /// A delivery that the worker could not make does not count: nothing is stored, and it is due
    /// again soon.
    fn put_off(&mut self, id: TaskId, now: Times) {
        self.disarm(id);
        if let Some(task) = self.tasks.get_mut(&id)
            && let Phase::Ended {
                due,
                claimed,
                from,
                wake,
                ..
            } = &mut task.phase
        {
            (*due, *from) = (now.wall.plus(PUT_OFF), Some(now.wall));
            (*wake, *claimed) = (now.elapsed.plus(PUT_OFF), false);
        }
        self.arm(id);
    }
}
