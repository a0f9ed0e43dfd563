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
