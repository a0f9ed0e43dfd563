//! Saved views: the filters of a list, under a name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limit of views of a person in a team: every gateway keeps all of them in memory.
pub const MAX_OWN_VIEWS: usize = 50;
/// Limit of views that a team shares.
pub const MAX_SHARED_VIEWS: usize = 100;
/// Longest query of a view, in bytes.
pub const MAX_QUERY_BYTES: usize = 2_000;

/// The list that a view is of.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ViewPage {
    /// `GET /v1/tasks`.
    Tasks,
    /// `GET /v1/dead-letters`.
    DeadLetters,
    /// `GET /v1/activity`.
    Activity,
}

impl ViewPage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tasks, Self::DeadLetters, Self::Activity];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::DeadLetters => "dead_letters",
            Self::Activity => "activity",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.as_str() == text)
    }
}
