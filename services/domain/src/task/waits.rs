//! What kept a ready task from running, part by part, as the owner of its partition saw it.
//!
//! The parts of a wait are stored with the start or the end of the task that follows it, so that they
//! outlive the owner. Those of a task that still waits are known to its owner only, since when it serves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::LimitKey;
use crate::time::Timestamp;

/// How many parts of one wait are kept: the latest.
pub const MAX_WAITS: usize = 8;

/// What keeps a ready task from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitKind {
    /// It waited until no other task with the key of its debounce came.
    Debounce,
    /// It runs after other members of its workflow.
    Predecessors,
    /// Another task came first by its ordering key, or blocked it.
    Order,
    /// Another task had the key of its singleton, or came first to it.
    Singleton,
    /// Its host failed, or somebody had opened it.
    TargetOpen,
    /// Its queue was paused.
    QueuePaused,
    /// Its queue had as many attempts running as it may have at a time.
    QueueConcurrency,
    /// Its queue had started as many attempts as its rate allows.
    QueueRate,
    /// One of its limits was paused.
    LimitPaused,
    /// As many attempts ran as one of its limits allows.
    LimitConcurrency,
    /// As many attempts were started as one of its limits allows.
    LimitRate,
    /// It was the turn of others, or no slot was free.
    Turn,
    /// No worker had claimed it.
    Unclaimed,
    /// Nobody listened to its queue or host, as somebody has to in the test environment.
    WaitingForListener,
}

impl WaitKind {
    /// Whether nothing else kept it from running than that others were served first.
    #[must_use]
    pub fn is_turn(self) -> bool {
        matches!(self, Self::Turn | Self::Unclaimed)
    }
}

/// A part of a wait. It lasts until the next one begins, the last one until the wait ends.
// Rows are stored by position, so nothing is left out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waited {
    pub from: Timestamp,
    pub by: WaitKind,
    /// The limit, if it was one.
    #[serde(default)]
    pub limit: Option<LimitKey>,
}
