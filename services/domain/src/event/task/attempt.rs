//! The attempts of a task: started, failed and to be retried, or released by a stopping worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::failure::Failure;
use crate::id::TaskId;
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

/// A stopping worker cut an attempt short on purpose: the task is ready again at once, and no retry
/// is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskReleased {
    pub id: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub at: Timestamp,
}

impl TaskReleased {
    /// The explanation of a released attempt for people.
    pub const SENTENCE: &'static str = "The worker was stopped during the attempt, which is repeated and uses up no retry; \
         the target may or may not have been called";
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
