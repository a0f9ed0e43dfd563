//! The attempts of a task: started, failed and to be retried, or released by a stopping worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::failure::Failure;
use crate::id::TaskId;
use crate::task::pull::{Claimed, Progress};
use crate::task::waits::Waited;
use crate::time::Timestamp;

/// An attempt begins. The event is appended before the call is made, so that no call goes
/// unrecorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// By then the call has ended, or its worker is lost.
    pub lease_until: Timestamp,
    /// Whether it is made to find out how its host does, which failed before. Absent: it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// Of a pulled task: the claim that started it. Absent if the attempt is a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claimed>,
    /// What kept the task from starting since it became ready. Absent: nothing but the turns of others
    /// and the want of a slot, as far as its owner knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Waited>,
}

/// An attempt failed and another one will follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptFailed {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    pub failure: Failure,
    /// The answer, if the target gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// When the next attempt is due.
    pub retry_at: Timestamp,
    /// Whether it used up one of the task's retries. An attempt that was lost with its worker, that
    /// the worker could not make, or that failed because the vault was unavailable does not, unless
    /// that goes on for too long.
    pub counted: bool,
}

/// A stopping worker cut an attempt short on purpose, or the worker that had claimed it gave it
/// back: the task is ready again at once, and no retry is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReleased {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// Whether the worker that had claimed the task gave it back. Absent: a call was cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned: bool,
}

impl TaskReleased {
    /// The explanation of a released attempt for people.
    #[must_use]
    pub fn sentence(&self) -> &'static str {
        if self.returned {
            "The worker that had claimed the task gave it back, which uses up no retry"
        } else {
            "The worker was stopped during the attempt, which is repeated and uses up no retry; \
             the target may or may not have been called"
        }
    }
}

/// The worker that has claimed a task is alive: its lease begins anew. It may say how far it has
/// come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskProgressed {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// Length of the lease from now on, in milliseconds.
    pub lease_ms: u32,
    /// 0 to 100. Absent: only the lease was extended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// What the worker is doing, in its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl TaskProgressed {
    /// Value of the header `Wb-Event`.
    pub const NAME: &'static str = "task.progressed.v1";

    /// How far the worker has come, if it says so.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        Some(Progress {
            percent: self.percent?,
            message: self.message.clone(),
            at: self.at,
        })
    }
}

/// Somebody asked for a task that waited for its time or for its retry: it may start as soon as a
/// slot is free. It uses up no retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRequested {
    pub id: TaskId,
    /// When it became ready, before the time that it waited for.
    pub at: Timestamp,
    /// How many attempts had started before; missing in older events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
}
