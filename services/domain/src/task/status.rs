//! The status of a task, as clients of the native API see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// The status of a task.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ToSchema)]
    #[schema(as = TaskStatus)]
    pub enum Status {
        /// Waiting to be started, for the first time or again.
        Pending = "pending",
        /// Scheduled for a later time.
        Delayed = "delayed",
        /// An attempt is running.
        Processing = "processing",
        /// The target answered, and the answer ended the task.
        Completed = "completed",
        /// The last attempt failed.
        Failed = "failed",
        /// The last attempt exceeded its time limit, or `deadline` or `expiresIn` passed.
        Timeout = "timeout",
        /// The task was cancelled.
        Cancelled = "cancelled",
    }
}

impl Status {
    /// Whether the task has ended.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Delayed | Self::Processing => false,
            Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => true,
        }
    }
}

/// Why a task ended, where the status alone does not say it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = TaskEndReason)]
pub enum EndReason {
    /// The target answered, and the answer ended the task.
    Completed,
    /// No attempt was left, or the failure was final.
    Dead,
    /// The last attempt exceeded its time limit, and no attempt was left.
    Timeout,
    /// `deadline` or `expiresIn` passed.
    Expired,
    /// The task was cancelled.
    Cancelled,
    /// The task gave way to another one with the same key.
    Superseded,
    /// Another task with the same key had not ended.
    Skipped,
    /// Another task with the same key was accepted shortly before.
    Duplicate,
    /// A member of its workflow did not complete, after which it was to run.
    Predecessor,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
