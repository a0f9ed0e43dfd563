//! Events of workers that pull: that somebody drains one, and that it gets tasks again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, TeamId};
use crate::time::Timestamp;
use crate::worker::WorkerName;

/// A worker is given no further task until it is resumed or the drain ends by itself. Of one that is
/// draining already, the event states the drain anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerDrained {
    pub worker: WorkerName,
    pub team: TeamId,
    /// Environment of the worker's tasks.
    pub environment: Environment,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the drain ends by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who drains it, in the form of the header `Wb-Actor`.
    pub drained_by: String,
    pub at: Timestamp,
}

/// A draining worker gets tasks again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerResumed {
    pub worker: WorkerName,
    pub team: TeamId,
    /// Environment of the worker's tasks.
    pub environment: Environment,
    pub at: Timestamp,
}
