//! Events of targets: what a team decides about the hosts that its tasks call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::health::{HealthRule, TargetHost};
use crate::id::{Environment, TeamId};
use crate::time::Timestamp;

/// When attempts at a host are held back because it fails was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetHealthSet {
    pub host: TargetHost,
    pub team: TeamId,
    /// Environment of the tasks.
    pub environment: Environment,
    /// The whole rule; absent: nothing is held back however the host fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<HealthRule>,
    pub at: Timestamp,
}

/// No task of a host is started until it is closed or that ends by itself. Of a host that is open so
/// already, the event states it anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetOpened {
    pub host: TargetHost,
    pub team: TeamId,
    /// Environment of the tasks.
    pub environment: Environment,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it ends by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who opened it, in the form of the header `Wb-Actor`.
    pub opened_by: String,
    pub at: Timestamp,
}

/// Tasks of a host may start again, and its earlier failures no longer count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetClosed {
    pub host: TargetHost,
    pub team: TeamId,
    /// Environment of the tasks.
    pub environment: Environment,
    pub at: Timestamp,
}
