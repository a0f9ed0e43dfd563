//! Keys by which not every task runs, as clients write and see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::id::TaskId;
use waybill_domain::task::once::{DebounceRequest, DedupRequest, Once, SingletonRequest};
use waybill_domain::task::{self, EndReason};

use super::lengths::{Length, Seconds};

/// Waiting until no further task with the same key comes to the queue: of those that follow each other closely one runs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DebounceTask {
    /// What the tasks have in common, such as the id of an object: at most 128 characters.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 128,
        example = "order-4711"
    )]
    pub key: Option<String>,
    /// How long no other may come before one runs, such as `5s`, or a number of seconds; at most 7 days.
    #[schema(required = true, value_type = Option<String>, example = "5s")]
    pub delay: Option<Length>,
    /// How long the first of them waits at most: at least `delay`, at most 7 days. Without it ten times `delay`.
    #[schema(value_type = Option<String>, example = "1m")]
    pub max_delay: Option<Length>,
    /// `last`: a task that waits gives way to this one. `first`: this one gives way to a task that waits.
    #[schema(value_type = Option<task::DebounceMode>, default = "last")]
    pub mode: Option<String>,
}

impl From<DebounceTask> for DebounceRequest {
    fn from(given: DebounceTask) -> Self {
        Self {
            key: given.key,
            delay: given.delay.map(|length| length.0),
            max_delay: given.max_delay.map(|length| length.0),
            mode: given.mode,
        }
    }
}

/// The debounce of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskDebounce {
    /// What it shares with those tasks of its queue that follow it closely.
    key: String,
    /// Seconds in which no other may come before one runs.
    #[schema(value_type = f64)]
    delay: Seconds,
    /// Seconds that the first of them waits at most.
    #[schema(value_type = f64)]
    max_delay: Seconds,
    /// Which of them runs: the `first` or the `last`.
    mode: task::DebounceMode,
}

impl TaskDebounce {
    pub(crate) fn of(once: Option<&Once>) -> Option<Self> {
        let debounce = once?.debounce()?;
        Some(Self {
            key: debounce.key.clone(),
            delay: Seconds(debounce.delay_ms),
            max_delay: Seconds(debounce.max_delay_ms),
            mode: debounce.mode,
        })
    }
}

/// Running alone among the tasks of the queue with the same key, from the first start until the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SingletonTask {
    /// What the tasks have in common, such as the name of a job: at most 128 characters.
    #[schema(
        required = true,
        min_length = 1,
        max_length = 128,
        example = "nightly-report"
    )]
    pub key: Option<String>,
    /// What this task does while others with the key have not ended. `skip`: it ends without a call. `queue`: it starts after the end of the
    /// one that has started. `queueOne`: the same, but it ends without a call if another one waits already. `cancelRunning`: it cancels them, and starts after their end.
    #[schema(value_type = Option<task::SingletonMode>, default = "queue")]
    pub mode: Option<String>,
}

impl From<SingletonTask> for SingletonRequest {
    fn from(given: SingletonTask) -> Self {
        Self {
            key: given.key,
            mode: given.mode,
        }
    }
}

/// The singleton of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSingleton {
    /// What it shares with the tasks of its queue beside which it does not run.
    key: String,
    /// What it does while others with the key have not ended.
    mode: task::SingletonMode,
}

impl TaskSingleton {
    pub(crate) fn of(once: Option<&Once>) -> Option<Self> {
        let singleton = once?.singleton()?;
        Some(Self {
            key: singleton.key.clone(),
            mode: singleton.mode,
        })
    }
}

/// Leaving out a task that was asked for shortly before: it ends without a call, if another task of the queue with the same key was accepted
/// within that one's `window`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DedupTask {
    /// What duplicates have in common, such as the id of an event: at most 128 characters. Required unless `content` is true.
    #[schema(min_length = 1, max_length = 128, example = "event-4711")]
    pub key: Option<String>,
    /// Instead of `key`: duplicates have the same method, `targetUrl` and body.
    #[schema(default = false)]
    pub content: Option<bool>,
    /// How long after the creation of this task others are its duplicates, such as `10m`, or a number of seconds; at most 24 hours.
    #[schema(required = true, value_type = Option<String>, example = "10m")]
    pub window: Option<Length>,
    /// What follows when this task is a duplicate. `existing`: it ends. `replaceIfNotStarted`: it takes the place of the other one, if that
    /// has not started, and else it ends. `reject`: it ends, and its creation is answered with 409 (where tasks are created one by one).
    #[schema(value_type = Option<task::OnDuplicate>, default = "existing")]
    pub on_duplicate: Option<String>,
    /// Whether this task is a duplicate of one that ended as `failed` or `timeout`: `new`, it is not and runs; `existing`, it is.
    #[schema(value_type = Option<task::IfFailed>, default = "new")]
    pub if_failed: Option<String>,
}

impl From<DedupTask> for DedupRequest {
    fn from(given: DedupTask) -> Self {
        Self {
            key: given.key,
            content: given.content,
            window: given.window.map(|length| length.0),
            on_duplicate: given.on_duplicate,
            if_failed: given.if_failed,
        }
    }
}

/// The dedup of a task.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskDedup {
    /// The key; with `content` the SHA-256 of what is compared, in hex.
    key: String,
    /// Whether the key was made from method, URL and body.
    content: bool,
    /// Seconds after its creation in which others are its duplicates.
    #[schema(value_type = f64)]
    window: Seconds,
    /// What follows when it is a duplicate.
    on_duplicate: task::OnDuplicate,
    /// Whether it is a duplicate of one that failed.
    if_failed: task::IfFailed,
}

impl TaskDedup {
    pub(crate) fn of(once: Option<&Once>) -> Option<Self> {
        let dedup = once?.dedup()?;
        Some(Self {
            key: dedup.key.clone(),
            content: dedup.content,
            window: Seconds(dedup.window_ms),
            on_duplicate: dedup.on_duplicate,
            if_failed: dedup.if_failed,
        })
    }
}

/// The id of the task that runs instead of one that ended, if that was for this reason.
pub(crate) fn instead(
    task: Option<TaskId>,
    ended: Option<EndReason>,
    reason: EndReason,
) -> Option<String> {
    task.filter(|_| ended == Some(reason))
        .map(|id| id.to_string())
}
