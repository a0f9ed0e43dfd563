//! What follows, beside a retry, when a target says that it is called too often.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RetryBounds;
use super::retry::LONGEST;
use super::steering::retry_after;
use crate::event::Answer;
use crate::time::Timestamp;

/// What follows from an answer 429 with `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnRateLimited {
    /// The first of the task's limits is paused for that long.
    PauseKey,
}

impl OnRateLimited {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text == "pauseKey").then_some(Self::PauseKey)
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PauseKey => "pauseKey",
        }
    }
}

/// For how long an answer pauses the limit of its task: as it says, but no longer than the longest
/// pause before a retry. `None`: it does not.
#[must_use]
pub fn pause_of_limit(answer: &Answer, bounds: &RetryBounds, at: Timestamp) -> Option<Duration> {
    if answer.status != 429 {
        return None;
    }
    let longest = bounds.longest().unwrap_or(LONGEST);
    let wanted = retry_after(answer, at)?.min(longest);
    (!wanted.is_zero()).then_some(wanted)
}
