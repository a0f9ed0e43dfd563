//! Keys by which not every task runs: of several tasks of a queue that name the same key, some give
//! way to another one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::length::Length;
use crate::id::TaskId;
use crate::time::Timestamp;

/// Limit of `debounce.delay` and `debounce.maxDelay`.
pub const MAX_WINDOW: Duration = Duration::from_secs(7 * 86_400);
/// `debounce.maxDelay` of a task that does not set it, in multiples of its `delay`.
pub const USUAL_WINDOW: u32 = 10;

/// What a task shares with others of its queue that name the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// Of tasks that follow each other closely one runs, when they have ceased to come.
    Debounce(Debounce),
}

impl Once {
    /// The key, which counts within one queue of one team, and for each kind by itself.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Debounce(debounce) => &debounce.key,
        }
    }

    /// The debounce, if it is one.
    #[must_use]
    pub fn debounce(&self) -> Option<&Debounce> {
        match self {
            Self::Debounce(debounce) => Some(debounce),
        }
    }
}

/// Which of the tasks of a window runs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DebounceMode {
    /// The first one: this task gives way to one that waits.
    First,
    /// The last one: one that waits gives way to this task.
    #[default]
    Last,
}

impl DebounceMode {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "first" => Some(Self::First),
            "last" => Some(Self::Last),
            _ => None,
        }
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
        }
    }
}

/// Waiting until no further task with the same key comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Debounce {
    /// The key.
    pub key: String,
    /// How long no other may come before one runs, in milliseconds.
    pub delay_ms: u64,
    /// How long the first of them waits at most, in milliseconds.
    pub max_delay_ms: u64,
    /// Which of them runs.
    #[serde(default)]
    pub mode: DebounceMode,
}

/// The same as a client wrote it. A `None` was not given.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the contract")]
pub struct DebounceRequest {
    pub key: Option<String>,
    pub delay: Option<Length>,
    pub max_delay: Option<Length>,
    pub mode: Option<String>,
}

/// When the tasks of a window came, by the clocks of those who accepted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The first of them.
    pub since: Timestamp,
    /// The latest of them.
    pub last: Timestamp,
}

impl Span {
    /// That of a task alone.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self {
            since: at,
            last: at,
        }
    }

    /// That of the tasks of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            since: self.since.min(other.since),
            last: self.last.max(other.last),
        }
    }
}

/// Why another task runs instead of one that gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InsteadReason {
    /// Both came within the window of a debounce.
    Debounced,
}

/// The task that runs instead of one that gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Instead {
    /// Id of the task that runs.
    pub task: TaskId,
    /// Why it does.
    pub reason: InsteadReason,
    /// Of a debounce: when the tasks came that the one which gave way stood for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

impl Instead {
    /// The explanation for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.reason {
            InsteadReason::Debounced => format!(
                "Superseded: {} runs instead, which came within the same window of its debounce",
                self.task
            ),
        }
    }
}
