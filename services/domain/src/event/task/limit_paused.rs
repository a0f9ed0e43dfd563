//! Pauses of limits that targets ask for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{LimitKey, TaskId, TeamId};
use crate::time::Timestamp;

/// A target has answered 429 with `Retry-After` to a task that is to pause its limit then: no task
/// with the key starts until that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLimitPaused {
    /// The task that was called.
    pub id: TaskId,
    /// Team of the task and of the limit.
    pub team: TeamId,
    pub key: LimitKey,
    /// When the pause ends by itself. What counts is its length from `at`.
    pub until: Timestamp,
    pub at: Timestamp,
}
