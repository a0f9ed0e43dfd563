//! Ordering keys: tasks of a queue that name the same key run one after the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What becomes of the tasks behind a failed one of the same ordering key.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
    ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The next one starts.
    #[default]
    Skip,
    /// All that were created before the failure are cancelled.
    CancelRest,
    /// They wait until the failed one is done again, or somebody lets them go.
    Block,
}

impl OnFailure {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "skip" => Some(Self::Skip),
            "cancelRest" => Some(Self::CancelRest),
            "block" => Some(Self::Block),
            _ => None,
        }
    }

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::CancelRest => "cancelRest",
            Self::Block => "block",
        }
    }
}

/// The ordering key of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ordering {
    /// The key. It counts within one queue of one team.
    pub key: String,
    /// What follows from a failure of this task.
    #[serde(default)]
    pub on_failure: OnFailure,
}
