//! Events of a team itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::team::OutcomeDefaults;
use crate::id::{Environment, QueueName, TeamId};
use crate::task::{RetryOn, Success};
use crate::time::Timestamp;

/// A team was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamCreated {
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    pub plan: String,
    pub at: Timestamp,
}

/// A team was renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamRenamed {
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    pub at: Timestamp,
}

/// A team was moved to another plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamPlanChanged {
    pub team: TeamId,
    pub plan: String,
    pub at: Timestamp,
}

/// What happens to a key that is reported as leaked.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LeakPolicy {
    /// The key is revoked.
    #[default]
    Revoke,
    /// The team's owners and admins are notified.
    Warn,
}

impl LeakPolicy {
    /// The name in requests.
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

/// A team changed what happens to leaked keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamLeakPolicyChanged {
    pub team: TeamId,
    pub leaked_keys: LeakPolicy,
    pub at: Timestamp,
}

/// A team changed how its credentials are protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamVaultPolicyChanged {
    pub team: TeamId,
    /// Headers of tasks to seal, besides those that always are; in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealed_headers: Vec<String>,
    /// Whether new vault tokens must name the hosts that they may be sent to.
    #[serde(default)]
    pub require_allowed_hosts: bool,
    pub at: Timestamp,
}

/// A team changed who sees the bodies and headers of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamPayloadPolicyChanged {
    pub team: TeamId,
    /// Whether viewers see them; everybody else does.
    pub viewers_see_payloads: bool,
    pub at: Timestamp,
}

/// A team changed the defaults for tasks that do not set these options. The event has all values
/// that apply from now on, including unchanged ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamTaskDefaultsChanged {
    pub team: TeamId,
    /// Answers that count as a success. Absent: the contract's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<Success>,
    /// Conditions for a retry. Absent: the contract's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// Pauses before the second and each further delivery of completion webhooks, in seconds.
    /// Absent: the platform's pauses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhook_pauses: Vec<u32>,
    /// Defaults of single queues, which take precedence.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queues: BTreeMap<QueueName, OutcomeDefaults>,
    pub at: Timestamp,
}

/// Requests to the team's receivers are signed with another secret from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamSigningSecretRotated {
    pub team: TeamId,
    pub environment: Environment,
    /// Number of the current secret. The secret itself is derived from it, and not stored.
    pub number: u32,
    /// Until then, the previous secret signs as well.
    pub former_until: Timestamp,
    pub at: Timestamp,
}

/// A team was deleted: it has no members, and its keys, applications and tokens are void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TeamDeleted {
    pub team: TeamId,
    pub at: Timestamp,
}
