//! Events of API keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{KeyId, QueueName, TeamId};
use crate::time::Timestamp;

/// An API key was created. No event contains the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyCreated {
    /// Id of the key, which contains its public part.
    pub key: KeyId,
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    /// Prefix of the key, such as `wb_live_`.
    pub prefix: String,
    /// The last four characters of the key, for display.
    pub last4: String,
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the key, in hex.
    pub mac: String,
    /// Version of the pepper under which `mac` was made.
    pub pepper_version: u32,
    /// When the key expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Networks (CIDR) that it may be used from. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Queues that it is limited to. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// The key that this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_from: Option<KeyId>,
    /// Who created it, in the form of the header `Wb-Actor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// The request that created it, if the request had an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RepeatableRequest>,
    pub at: Timestamp,
}

/// Identifies repetitions of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RepeatableRequest {
    /// SHA-256, in hex, of the idempotency key and the environment that it is valid in.
    pub idempotency_key: String,
    /// SHA-256, in hex, of the contents of the request.
    pub fingerprint: String,
}

/// An API key was replaced by a successor, and stays valid for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotated {
    pub key: KeyId,
    pub team: TeamId,
    /// The key that replaces it.
    pub successor: KeyId,
    /// When the replaced key stops being valid.
    pub accepted_until: Timestamp,
    pub at: Timestamp,
}

/// An API key was found in public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyReported {
    pub key: KeyId,
    pub team: TeamId,
    /// Name of the reporter.
    pub reporter: String,
    /// Kind of place where it was found, such as `commit`.
    pub source: String,
    /// URL of the place, if reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub at: Timestamp,
}

/// Why an API key was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// An entitled person or key revoked it.
    #[default]
    Requested,
    /// Its own holder revoked it.
    ByHolder,
    /// It was found in public.
    Leaked,
    /// Its team was deleted.
    TeamDeleted,
}

/// An API key was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRevoked {
    pub key: KeyId,
    pub team: TeamId,
    #[serde(default)]
    pub reason: RevocationReason,
    pub at: Timestamp,
}

/// What the jobs API adds to a key, or changes of it, was set. The event has all values that apply from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyTermsSet {
    pub key: KeyId,
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    pub scopes: Vec<Scope>,
    /// Queues that it is limited to. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    /// Requests per minute, beside what the plan allows. Absent: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
    /// Whether it is accepted.
    pub is_active: bool,
    /// Whether the jobs API made it, and may narrow its scopes and queues.
    #[serde(default)]
    pub by_jobs_api: bool,
    pub at: Timestamp,
}

/// A session that was begun with a key has ended: its tokens are void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeySessionEnded {
    pub key: KeyId,
    pub team: TeamId,
    /// Id of the session in its tokens.
    pub session: String,
    /// When its last token would have expired.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}
