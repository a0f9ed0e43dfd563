//! Events of limit keys: what a team decides at run time about limits that its tasks share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, LimitKey, TeamId};
use crate::rate::StartRate;
use crate::time::Timestamp;

/// What a key allows was set, whatever tasks say. Without any bound, tasks say it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitSet {
    pub key: LimitKey,
    pub team: TeamId,
    /// Environment of the key.
    pub environment: Environment,
    /// Most attempts at a time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Most starts in a time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<StartRate>,
    pub at: Timestamp,
}

/// No task with the key is started until it is resumed or the pause ends by itself. Of a key that is
/// paused already, the event states the pause anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitPaused {
    pub key: LimitKey,
    pub team: TeamId,
    /// Environment of the key.
    pub environment: Environment,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the pause ends by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who paused it, in the form of the header `Wb-Actor`.
    pub paused_by: String,
    pub at: Timestamp,
}

/// Tasks with a paused key may start again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitResumed {
    pub key: LimitKey,
    pub team: TeamId,
    /// Environment of the key.
    pub environment: Environment,
    pub at: Timestamp,
}
