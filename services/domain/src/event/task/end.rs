//! The end of a task: how it ended, and what clients see of that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TaskEvent;
use super::answer::Answer;
use super::failure::{Failure, FailureKind};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::once::{Instead, InsteadReason};
use crate::task::status::{EndReason, Status};
use crate::task::success;
use crate::task::waits::Waited;
use crate::time::Timestamp;

/// The event that ended a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// The target answered.
    Succeeded(TaskSucceeded),
    /// No attempt was left, or the failure was final.
    Dead(TaskDead),
    /// Its deadline or `expiresIn` had passed.
    Expired(TaskExpired),
    Cancelled(TaskCancelled),
}

impl From<TaskEnd> for TaskEvent {
    fn from(end: TaskEnd) -> Self {
        match end {
            TaskEnd::Succeeded(end) => Self::Succeeded(end),
            TaskEnd::Dead(end) => Self::Dead(end),
            TaskEnd::Expired(end) => Self::Expired(end),
            TaskEnd::Cancelled(end) => Self::Cancelled(end),
        }
    }
}

impl TaskEnd {
    /// The last answer of the target, if that ended the task.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Succeeded(end) => Some(&end.answer),
            Self::Dead(end) => end.answer.as_ref(),
            Self::Expired(_) | Self::Cancelled(_) => None,
        }
    }

    /// Of a task that ended while it waited: what kept it from running until then.
    #[must_use]
    pub fn waits(&self) -> &[Waited] {
        match self {
            Self::Succeeded(_) | Self::Dead(_) => &[],
            Self::Expired(end) => &end.waits,
            Self::Cancelled(end) => &end.waits,
        }
    }

    /// Whether the end counts as a success.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Succeeded(end) if end.is_ok())
    }

    /// The final status of the task.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Succeeded(_) => Status::Completed,
            Self::Dead(end) => end.status(),
            Self::Expired(_) => Status::Timeout,
            Self::Cancelled(_) => Status::Cancelled,
        }
    }

    /// The reason of the end, beyond the status.
    #[must_use]
    pub fn reason(&self) -> EndReason {
        match self {
            Self::Succeeded(_) => EndReason::Completed,
            Self::Dead(end) if end.status() == Status::Timeout => EndReason::Timeout,
            Self::Dead(_) => EndReason::Dead,
            Self::Expired(_) => EndReason::Expired,
            Self::Cancelled(end) if end.predecessor.is_some() => EndReason::Predecessor,
            Self::Cancelled(end) => match end.instead.map(|instead| instead.reason) {
                None => EndReason::Cancelled,
                Some(
                    InsteadReason::Debounced | InsteadReason::Replaced | InsteadReason::Refreshed,
                ) => EndReason::Superseded,
                Some(InsteadReason::Skipped) => EndReason::Skipped,
                Some(InsteadReason::Duplicate) => EndReason::Duplicate,
            },
        }
    }

    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Succeeded(end) => end.at,
            Self::Dead(end) => end.at,
            Self::Expired(end) => end.at,
            Self::Cancelled(end) => end.at,
        }
    }
}

/// The target answered, and that ended the task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskSucceeded {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// The answer; it may be a 3xx or 4xx that is not retried.
    pub answer: Answer,
    /// Whether the answer counts as a success. Absent: if and only if its status is 2xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
}

impl TaskSucceeded {
    /// Whether the answer counts as a success.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.ok
            .unwrap_or_else(|| success::is_success(self.answer.status, None))
    }
}

/// The last attempt failed and no retry is left, or the failure is final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDead {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    pub failure: Failure,
    /// The answer, if the target gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// The last creation, as a sequence in TASKS, that this failure cancels of those behind it with
    /// the same ordering key. Absent if it cancels none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels_to: Option<StreamSeq>,
}

impl TaskDead {
    /// The status of the task: a timeout if its last attempt exceeded its time limit.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.failure.kind {
            FailureKind::Timeout => Status::Timeout,
            _ => Status::Failed,
        }
    }
}

/// Cancellation of a task with a running attempt was requested. The call is cut off, and
/// `task.cancelled` follows unless the attempt ends the task first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelRequested {
    pub id: TaskId,
    /// The running attempt.
    pub attempt: u32,
    pub at: Timestamp,
}

/// A task was cancelled: without a running attempt, or instead of a further one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCancelled {
    pub id: TaskId,
    pub at: Timestamp,
    /// The attempt that was cut off, or that failed after the cancellation was requested. Absent if
    /// no attempt was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How that attempt failed. If absent although `attempt` is present, the call was cut off, and
    /// it is unknown what the target did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The failed task of the same ordering key because of which it was cancelled. Absent if a
    /// client asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TaskId>,
    /// The task that runs instead, because of a key that both have. Absent if it did not give way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Instead>,
    /// The member of the same workflow that did not complete, so that this one never can run, as it
    /// runs after it, directly or through others. Absent if that was not the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<TaskId>,
    /// As in `task.started`, of a task that was waiting for an attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
}

impl TaskCancelled {
    /// The explanation of an attempt that was cut off, for people.
    pub const CUT_OFF: &'static str = "Cancelled during the attempt: the call was cut off, and the target may or may not have acted on it";

    /// The end of a task without a running attempt.
    #[must_use]
    pub fn idle(id: TaskId, at: Timestamp) -> Self {
        Self {
            id,
            at,
            attempt: None,
            failure: None,
            after: None,
            instead: None,
            predecessor: None,
            waits: Vec::new(),
        }
    }

    /// The explanation of how the cancellation ended the attempt, if one was running, or of why the
    /// task was cancelled, if no client asked for it.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        if let Some(failed) = self.after {
            return Some(format!(
                "Cancelled, because {failed} failed, which comes before it by its ordering key"
            ));
        }
        if let Some(other) = self.predecessor {
            return Some(format!(
                "Cancelled, because {other} did not complete, after which it was to run, directly or through others"
            ));
        }
        if let Some(instead) = &self.instead {
            let sentence = instead.sentence();
            return Some(match (self.attempt, &self.failure) {
                (None, _) => sentence,
                (Some(_), None) => format!("{sentence}. {}", Self::CUT_OFF),
                (Some(_), Some(failure)) => {
                    format!("{sentence}; the last attempt: {}", failure.message)
                }
            });
        }
        self.attempt?;
        Some(match &self.failure {
            None => Self::CUT_OFF.to_owned(),
            Some(failure) => format!("Cancelled; the last attempt: {}", failure.message),
        })
    }
}

/// The deadline of a task, or its `expiresIn`, has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskExpired {
    pub id: TaskId,
    /// The attempt that was cut off, if one was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    pub at: Timestamp,
    /// How the last attempt failed, or that it was cut off.
    pub failure: Failure,
    /// As in `task.dead`: the last creation that this failure cancels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels_to: Option<StreamSeq>,
    /// As in `task.started`, of a task that was waiting for an attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
}
