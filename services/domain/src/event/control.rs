//! What happens to teams and keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::event::events;
use crate::id::{KeyId, TeamId};
use crate::time::Timestamp;

events! {
    /// One change of who may do what.
    ControlEvent {
        TeamCreated(TeamCreated) = "team.created.v1",
        KeyCreated(KeyCreated) = "key.created.v1",
        KeyRevoked(KeyRevoked) = "key.revoked.v1",
    }
}

impl ControlEvent {
    /// The team it is about.
    #[must_use]
    pub fn team(&self) -> &TeamId {
        match self {
            Self::TeamCreated(e) => &e.team,
            Self::KeyCreated(e) => &e.team,
            Self::KeyRevoked(e) => &e.team,
        }
    }

    /// Kind and id of the aggregate: two tokens of the subject.
    #[must_use]
    pub fn aggregate(&self) -> (&'static str, &str) {
        match self {
            Self::TeamCreated(e) => ("team", e.team.as_str()),
            Self::KeyCreated(e) => ("key", e.key.as_str()),
            Self::KeyRevoked(e) => ("key", e.key.as_str()),
        }
    }
}

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

/// An API key exists. The key itself is in no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    /// Its id; holds the public part of the key.
    pub key: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// What it begins with, such as `wb_live_`.
    pub prefix: String,
    /// Its last four characters, for people.
    pub last4: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the key, in hex.
    pub mac: String,
    /// Which pepper made `mac`.
    pub pepper_version: u32,
    /// When.
    pub at: Timestamp,
}

/// An API key is no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    /// Which key.
    pub key: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// When.
    pub at: Timestamp,
}
