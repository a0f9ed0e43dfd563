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
/// Limit of `dedup.window`.
pub const MAX_DEDUP_WINDOW: Duration = Duration::from_secs(86_400);
/// Most ended tasks of a queue that are remembered for `dedup`; beyond it the oldest are forgotten.
pub const MAX_REMEMBERED: usize = 50_000;

/// What a task shares with others of its queue that name the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// Of tasks that follow each other closely one runs, when they have ceased to come.
    Debounce(Debounce),
    /// At most one runs at a time.
    Singleton(Singleton),
    /// One that follows another within a window gives way to it.
    Dedup(Dedup),
}

impl Once {
    /// The key, which counts within one queue of one team, and for each kind by itself.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Debounce(debounce) => &debounce.key,
            Self::Singleton(singleton) => &singleton.key,
            Self::Dedup(dedup) => &dedup.key,
        }
    }

    /// The debounce, if it is one.
    #[must_use]
    pub fn debounce(&self) -> Option<&Debounce> {
        match self {
            Self::Debounce(debounce) => Some(debounce),
            Self::Singleton(_) | Self::Dedup(_) => None,
        }
    }

    /// The singleton, if it is one.
    #[must_use]
    pub fn singleton(&self) -> Option<&Singleton> {
        match self {
            Self::Singleton(singleton) => Some(singleton),
            Self::Debounce(_) | Self::Dedup(_) => None,
        }
    }

    /// The dedup, if it is one.
    #[must_use]
    pub fn dedup(&self) -> Option<&Dedup> {
        match self {
            Self::Dedup(dedup) => Some(dedup),
            Self::Debounce(_) | Self::Singleton(_) => None,
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
    /// What it shares with those tasks of its queue that follow it closely.
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

/// What a new task means to those with the same key that have not ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum SingletonMode {
    /// It gives way to them.
    Skip,
    /// It starts after the end of the one that has started.
    #[default]
    Queue,
    /// They give way to it.
    CancelRunning,
    /// It waits for the end of the one that has started, unless another one waits already: then it
    /// gives way to that.
    QueueOne,
}

impl SingletonMode {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "skip" => Some(Self::Skip),
            "queue" => Some(Self::Queue),
            "cancelRunning" => Some(Self::CancelRunning),
            "queueOne" => Some(Self::QueueOne),
            _ => None,
        }
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::CancelRunning => "cancelRunning",
            Self::QueueOne => "queueOne",
        }
    }
}

/// Running alone among the tasks with the same key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Singleton {
    /// What it shares with the tasks of its queue beside which it does not run.
    pub key: String,
    /// What a new task means to those before it.
    #[serde(default)]
    pub mode: SingletonMode,
}

/// The same as a client wrote it. A `None` was not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the contract")]
pub struct SingletonRequest {
    pub key: Option<String>,
    pub mode: Option<String>,
}

/// Which of two tasks gives way when the newer one comes within the window of the older one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum OnDuplicate {
    /// The newer one.
    #[default]
    Existing,
    /// The older one if it has not started, and else the newer one.
    ReplaceIfNotStarted,
    /// The newer one, and whoever waits for the answer to its creation is refused.
    Reject,
}

impl OnDuplicate {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "existing" => Some(Self::Existing),
            "replaceIfNotStarted" => Some(Self::ReplaceIfNotStarted),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Existing => "existing",
            Self::ReplaceIfNotStarted => "replaceIfNotStarted",
            Self::Reject => "reject",
        }
    }
}

/// Whether a task that failed counts for those that come within its window.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum IfFailed {
    /// It does not: the newer one runs.
    #[default]
    New,
    /// It does: the newer one gives way.
    Existing,
}

impl IfFailed {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "existing" => Some(Self::Existing),
            _ => None,
        }
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// Leaving out tasks that were asked for shortly before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dedup {
    /// The key; of a task that is compared by its contents, their SHA-256 in hex.
    pub key: String,
    /// Whether the key was made from the contents.
    #[serde(default)]
    pub content: bool,
    /// How long others count as its duplicates, in milliseconds.
    pub window_ms: u64,
    /// Which gives way, if it is a duplicate itself.
    #[serde(default)]
    pub on_duplicate: OnDuplicate,
    /// Whether it is a duplicate of one that failed.
    #[serde(default)]
    pub if_failed: IfFailed,
}

/// The same as a client wrote it. A `None` was not given.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the contract")]
pub struct DedupRequest {
    pub key: Option<String>,
    pub content: Option<bool>,
    pub window: Option<Length>,
    pub on_duplicate: Option<String>,
    pub if_failed: Option<String>,
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
    /// A newer task of its singleton takes its place.
    Replaced,
    /// Another task of its singleton had not ended.
    Skipped,
    /// It came within the window of that task.
    Duplicate,
    /// That task came within its window, before it had started.
    Refreshed,
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
    /// That task, for that reason.
    #[must_use]
    pub fn of(task: TaskId, reason: InsteadReason) -> Self {
        Self {
            task,
            reason,
            span: None,
        }
    }

    /// The explanation for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.reason {
            InsteadReason::Debounced => format!(
                "Superseded: {} runs instead, which came within the same window of its debounce",
                self.task
            ),
            InsteadReason::Replaced => format!(
                "Superseded: {} takes its place, which was created later with the same singleton key",
                self.task
            ),
            InsteadReason::Skipped => format!(
                "Skipped: {} has the same singleton key and had not ended",
                self.task
            ),
            InsteadReason::Duplicate => format!(
                "Duplicate: {} has the same dedup key and was accepted shortly before",
                self.task
            ),
            InsteadReason::Refreshed => format!(
                "Superseded: {} takes its place, which came later with the same dedup key",
                self.task
            ),
        }
    }
}
