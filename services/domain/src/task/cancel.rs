//! What cancelling does to a task.
//!
//! A task without a running attempt ends at once. A running attempt is cut off once the log has
//! stored the request, and may still win the race: if its outcome is decided first and ends the
//! task, that end counts. If it does not end the task, the cancellation does: once it was
//! requested, no further attempt follows.

use crate::event::{AttemptFailed, CancelRequested, TaskCancelled};
use crate::id::TaskId;
use crate::time::Timestamp;

/// The part of a task's state on which cancelling it depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    pub stage: Stage,
    /// Whether another decision about the task waits for the log.
    pub is_being_decided: bool,
    pub request: RequestStage,
}

/// How far the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No attempt is running.
    Idle,
    /// An attempt is running.
    Running { attempt: u32 },
    /// Only its completion webhook is left to deliver.
    Ended,
}

/// How far an earlier request to cancel the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStage {
    /// Nobody has asked to cancel it during an attempt.
    None,
    /// The request waits for the log.
    Pending,
    /// The log has the request.
    Stored,
}

/// What follows from a request to cancel a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancellation {
    /// The task ends.
    Ends(Box<TaskCancelled>),
    /// Its running attempt is cut off, and the task ends after that.
    CutsOff(CancelRequested),
}

/// Why a request to cancel a task changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRefused {
    /// The task has ended.
    NotOpen,
    /// It was requested before, and the attempt is being cut off.
    AlreadyRequested,
    /// What becomes of the task is being stored; ask again after that.
    BeingDecided,
}

/// Decides what a request to cancel a task leads to.
///
/// # Errors
/// If it changes nothing.
pub fn cancel(id: TaskId, task: Outline, at: Timestamp) -> Result<Cancellation, CancelRefused> {
    if task.stage == Stage::Ended {
        return Err(CancelRefused::NotOpen);
    }
    if task.is_being_decided {
        return Err(CancelRefused::BeingDecided);
    }
    match (task.request, task.stage) {
        (RequestStage::Stored, _) => Err(CancelRefused::AlreadyRequested),
        (RequestStage::Pending, _) => Err(CancelRefused::BeingDecided),
        (RequestStage::None, Stage::Running { attempt }) => {
            Ok(Cancellation::CutsOff(CancelRequested { id, attempt, at }))
        }
        (RequestStage::None, Stage::Idle) => {
            let ends = Box::new(TaskCancelled::idle(id, at));
            Ok(Cancellation::Ends(ends))
        }
        (RequestStage::None, Stage::Ended) => Err(CancelRefused::NotOpen),
    }
}

/// The end of a task whose attempt was cut off.
#[must_use]
pub fn cut_off(id: TaskId, attempt: u32, at: Timestamp) -> TaskCancelled {
    TaskCancelled {
        id,
        at,
        attempt: Some(attempt),
        failure: None,
        after: None,
        instead: None,
        predecessor: None,
        waits: Vec::new(),
    }
}

/// The end of a task whose attempt failed after the cancellation was requested, in place of the
/// next attempt.
#[must_use]
pub fn instead_of_retry(failed: AttemptFailed) -> TaskCancelled {
    TaskCancelled {
        id: failed.id,
        at: failed.at,
        attempt: Some(failed.attempt),
        failure: Some(failed.failure),
        after: None,
        instead: None,
        predecessor: None,
        waits: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;

    const AT: Timestamp = Timestamp(7);

    fn a_task() -> TaskId {
        TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"))
    }

    fn outline(stage: Stage) -> Outline {
        Outline {
            stage,
            is_being_decided: false,
            request: RequestStage::None,
        }
    }

    fn decided(task: Outline) -> Result<Cancellation, CancelRefused> {
        cancel(a_task(), task, AT)
    }

    #[test]
    fn a_task_without_a_running_attempt_ends_at_once() {
        let ends = Cancellation::Ends(Box::new(TaskCancelled::idle(a_task(), AT)));
        assert_eq!(decided(outline(Stage::Idle)), Ok(ends));
    }

    #[test]
    fn a_running_attempt_is_cut_off_first() {
        let id = a_task();
        let (attempt, at) = (3, AT);
        let cuts_off = Cancellation::CutsOff(CancelRequested { id, attempt, at });
        assert_eq!(decided(outline(Stage::Running { attempt })), Ok(cuts_off));
    }

    #[test]
    fn what_has_ended_cannot_be_cancelled_whatever_is_being_stored() {
        for is_being_decided in [false, true] {
            for request in [
                RequestStage::None,
                RequestStage::Pending,
                RequestStage::Stored,
            ] {
                let ended = Outline {
                    stage: Stage::Ended,
                    is_being_decided,
                    request,
                };
                assert_eq!(decided(ended), Err(CancelRefused::NotOpen));
            }
        }
    }

    #[test]
    fn a_second_request_changes_nothing() {
        for stage in [Stage::Idle, Stage::Running { attempt: 1 }] {
            let with = |request| Outline {
                request,
                ..outline(stage)
            };
            assert_eq!(
                decided(with(RequestStage::Stored)),
                Err(CancelRefused::AlreadyRequested)
            );
            assert_eq!(
                decided(with(RequestStage::Pending)),
                Err(CancelRefused::BeingDecided)
            );
        }
    }

    #[test]
    fn nothing_is_decided_while_another_decision_waits_for_the_log() {
        for stage in [Stage::Idle, Stage::Running { attempt: 1 }] {
            for request in [
                RequestStage::None,
                RequestStage::Pending,
                RequestStage::Stored,
            ] {
                let busy = Outline {
                    stage,
                    is_being_decided: true,
                    request,
                };
                assert_eq!(decided(busy), Err(CancelRefused::BeingDecided));
            }
        }
    }
}
