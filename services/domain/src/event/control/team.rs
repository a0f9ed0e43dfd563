//! What happens to a team itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, TeamId};
use crate::time::Timestamp;

/// A team exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamCreated {
    /// The team.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// Name of its plan.
    pub plan: String,
    /// When.
    pub at: Timestamp,
}

/// A team is called something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamRenamed {
    /// The team.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// When.
    pub at: Timestamp,
}

/// A team may use more, or less, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamPlanChanged {
    /// The team.
    pub team: TeamId,
    /// Name of its plan.
    pub plan: String,
    /// When.
    pub at: Timestamp,
}

/// What to do when somebody reports that a key of the team was found in the open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LeakPolicy {
    /// It is accepted no more.
    #[default]
    Revoke,
    /// The team's owners and admins are told.
    Warn,
}

impl LeakPolicy {
    /// As in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Warn => "warn",
        }
    }

    /// Reads what [`LeakPolicy::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Revoke, Self::Warn]
            .into_iter()
            .find(|policy| policy.as_str() == text)
    }
}

/// A team has decided what happens to leaked keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamLeakPolicyChanged {
    /// The team.
    pub team: TeamId,
    /// What happens to leaked keys.
    pub leaked_keys: LeakPolicy,
    /// When.
    pub at: Timestamp,
}

/// A team has decided how its credentials are guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamVaultPolicyChanged {
    /// The team.
    pub team: TeamId,
    /// Headers of tasks whose values are sealed, beside those that always are; in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed_headers: Vec<String>,
    /// New tokens of the vault must name the hosts that they may be sent to.
    #[serde(default)]
    pub require_allowed_hosts: bool,
    /// When.
    pub at: Timestamp,
}

/// What is called for a team is signed with another secret from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamSigningSecretRotated {
    /// The team.
    pub team: TeamId,
    /// In which of its environments.
    pub environment: Environment,
    /// The number of the secret that signs. The secret itself is derived, and stored nowhere.
    pub number: u32,
    /// Until then the one before it signs too.
    pub former_until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// A team is no more: nobody belongs to it, its keys, applications and tokens count no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamDeleted {
    /// The team.
    pub team: TeamId,
    /// When.
    pub at: Timestamp,
}
