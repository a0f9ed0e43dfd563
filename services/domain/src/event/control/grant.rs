//! Events of grants: what an OAuth application was granted, with every token that stems from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{AppId, Environment, GrantId, TeamId, UserId};
use crate::time::Timestamp;

/// An application received a grant: by a person's consent, with a code; or for itself, with an
/// access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantGiven {
    pub grant: GrantId,
    pub app: AppId,
    /// The team that the application may act in.
    pub team: TeamId,
    /// Environment of the team.
    pub environment: Environment,
    /// The person who consented. Absent if the application acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// Scopes of the grant.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the code, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_mac: Option<String>,
    /// SHA-256 of the verifier that belongs to the code, in base64url (RFC 7636, `S256`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// Redirect URI that the code was sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// When the code expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_expires_at: Option<Timestamp>,
    /// HMAC-SHA-256 of the access token, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_mac: Option<String>,
    /// When the access token expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Timestamp>,
    /// Version of the pepper under which the MACs were made.
    pub pepper_version: u32,
    /// When the grant ends in any case.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}

/// The code was exchanged for tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRedeemed {
    pub grant: GrantId,
    pub app: AppId,
    /// The team that the application may act in.
    pub team: TeamId,
    /// HMAC-SHA-256 of the access token, in hex.
    pub token_mac: String,
    /// When the access token expires.
    pub token_expires_at: Timestamp,
    /// HMAC-SHA-256 of the refresh token, in hex.
    pub refresh_mac: String,
    /// Version of the pepper under which the MACs were made.
    pub pepper_version: u32,
    /// When it ends unless it is refreshed.
    pub idle_until: Timestamp,
    pub at: Timestamp,
}

/// A refresh token was exchanged for another one and for an access token that replaces the previous
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRefreshed {
    pub grant: GrantId,
    pub app: AppId,
    /// The team that the application may act in.
    pub team: TeamId,
    /// Scopes of the access token: those of the grant, or fewer.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the access token, in hex.
    pub token_mac: String,
    /// When the access token expires.
    pub token_expires_at: Timestamp,
    /// HMAC-SHA-256 of the new refresh token, in hex.
    pub refresh_mac: String,
    /// Version of the pepper under which the MACs were made.
    pub pepper_version: u32,
    /// When it ends unless it is refreshed.
    pub idle_until: Timestamp,
    pub at: Timestamp,
}

/// The access token was revoked before it expired; the grant may still be refreshed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTokenRevoked {
    pub grant: GrantId,
    pub app: AppId,
    /// The team that the application may act in.
    pub team: TeamId,
    pub at: Timestamp,
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// The person withdrew the grant.
    Withdrawn,
    /// The application returned the grant.
    Returned,
    /// The code was presented twice, so somebody has copied it.
    CodeReused,
    /// A refresh token was presented twice, so somebody has copied it.
    RefreshReused,
    /// A device asked for it, and a person refused.
    Denied,
}

/// A grant ended early, with every token that stems from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRevoked {
    pub grant: GrantId,
    pub app: AppId,
    /// The team that the application could act in.
    pub team: TeamId,
    pub reason: GrantEnd,
    pub at: Timestamp,
}

/// A device asked for a grant: a person approves or refuses elsewhere, by a short code that is
/// derived from the id of the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantAsked {
    pub grant: GrantId,
    pub app: AppId,
    /// The team of the application; which one it may act in is decided by whoever approves.
    pub team: TeamId,
    /// Environment of the application.
    pub environment: Environment,
    /// Scopes that it asks for.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the code by which the device asks for tokens, in hex.
    pub code_mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
    /// When it is too late to decide.
    pub expires_at: Timestamp,
    pub at: Timestamp,
}
