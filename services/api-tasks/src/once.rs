//! Keys by which not every task runs, as clients write and see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::task::once::{DebounceRequest, Once};
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
    /// The key.
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

/// The id of the task that runs instead of one that ended, if that was for this reason.
pub(crate) fn instead(
    task: Option<waybill_domain::id::TaskId>,
    ended: Option<EndReason>,
    reason: EndReason,
) -> Option<String> {
    task.filter(|_| ended == Some(reason))
        .map(|id| id.to_string())
}
