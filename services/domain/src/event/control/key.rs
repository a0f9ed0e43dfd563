//! What happens to API keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{KeyId, TeamId};
use crate::time::Timestamp;

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
    /// From when on it is accepted no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Networks (CIDR) that it may be used from. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// The key that it succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<KeyId>,
    /// Who made it, as actors are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The request that made it, when it said how its repetitions are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RepeatableRequest>,
    /// When.
    pub at: Timestamp,
}

/// How a request is known again when it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepeatableRequest {
    /// SHA-256, in hex, of the idempotency key and the environment that it counts in.
    pub idempotency_key: String,
    /// SHA-256, in hex, of what was asked for.
    pub fingerprint: String,
}

/// An API key has a successor and is accepted for a while longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotated {
    /// Which key.
    pub key: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// The key that takes its place.
    pub successor: KeyId,
    /// From when on it is accepted no more.
    pub accepted_until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// Somebody found an API key in the open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyReported {
    /// Which key.
    pub key: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// Who says so.
    pub reporter: String,
    /// What kind of place it was found in, such as `commit`.
    pub source: String,
    /// Where, when it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Why an API key was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// Somebody entitled wanted it.
    #[default]
    Requested,
    /// Its holder wanted it.
    ByHolder,
    /// It was found in the open.
    Leaked,
    /// Its team was deleted.
    TeamDeleted,
}

/// An API key is no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    /// Which key.
    pub key: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// Why.
    #[serde(default)]
    pub reason: RevocationReason,
    /// When.
    pub at: Timestamp,
}
