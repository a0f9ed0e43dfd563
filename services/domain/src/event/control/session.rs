//! What happens to sessions: one person, signed in on one device.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{SessionId, UserId};
use crate::time::Timestamp;

/// A person signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStarted {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// The person's generation: void once they have another one.
    pub generation: u64,
    /// `password`, or the name of an outside issuer.
    pub method: String,
    /// HMAC-SHA-256 of the refresh token, in hex.
    pub refresh_mac: String,
    /// Which pepper made `refresh_mac`.
    pub pepper_version: u32,
    /// Void from then on unless it is refreshed.
    pub idle_until: Timestamp,
    /// Void from then on.
    pub expires_at: Timestamp,
    /// Address that it was begun from.
    pub source: String,
    /// What the client calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A refresh token was used, and there is another one in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRefreshed {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// HMAC-SHA-256 of the new refresh token, in hex.
    pub refresh_mac: String,
    /// Which pepper made `refresh_mac`.
    pub pepper_version: u32,
    /// Void from then on unless it is refreshed.
    pub idle_until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionEnd {
    /// The person signed out.
    LoggedOut,
    /// The person ended it from another session.
    Ended,
    /// A refresh token was used twice: somebody has a copy.
    Reused,
}

/// A session is over, before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub user: UserId,
    /// Why.
    pub reason: SessionEnd,
    /// When.
    pub at: Timestamp,
}
