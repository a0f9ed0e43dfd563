//! Events of sessions: one person, signed in on one device.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{SessionId, UserId};
use crate::time::Timestamp;

/// A person signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStarted {
    pub session: SessionId,
    pub user: UserId,
    /// Generation of the person's credentials; the session is void once the person has another one.
    pub generation: u64,
    /// `password`, or the name of the external issuer.
    pub method: String,
    /// HMAC-SHA-256 of the refresh token, in hex.
    pub refresh_mac: String,
    /// Version of the pepper under which `refresh_mac` was made.
    pub pepper_version: u32,
    /// When it ends unless it is refreshed.
    pub idle_until: Timestamp,
    /// When the session ends in any case.
    pub expires_at: Timestamp,
    /// Source address of the log-in.
    pub source: String,
    /// The client's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub at: Timestamp,
}

/// A refresh token was exchanged for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRefreshed {
    pub session: SessionId,
    pub user: UserId,
    /// HMAC-SHA-256 of the new refresh token, in hex.
    pub refresh_mac: String,
    /// Version of the pepper under which `refresh_mac` was made.
    pub pepper_version: u32,
    /// When it ends unless it is refreshed.
    pub idle_until: Timestamp,
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
    /// A refresh token was presented twice, so somebody has copied it.
    Reused,
}

/// A session ended before it expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    pub session: SessionId,
    pub user: UserId,
    pub reason: SessionEnd,
    pub at: Timestamp,
}
