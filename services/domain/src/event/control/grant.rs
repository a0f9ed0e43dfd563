//! What happens to grants: what an OAuth application was given once, with every token that comes from it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{AppId, Environment, GrantId, TeamId, UserId};
use crate::time::Timestamp;

/// An application was given something: by a person's consent, for which it holds a code; or by itself, for which it holds a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantGiven {
    /// Which grant.
    pub grant: GrantId,
    /// To which application.
    pub app: AppId,
    /// The team that it may act in.
    pub team: TeamId,
    /// In which of its worlds.
    pub environment: Environment,
    /// Who consented. Absent: the application acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the code, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_mac: Option<String>,
    /// SHA-256 of the verifier that goes with the code, in base64url (RFC 7636, `S256`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<String>,
    /// Where the code was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// The code is void from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_expires_at: Option<Timestamp>,
    /// HMAC-SHA-256 of the access token, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_mac: Option<String>,
    /// The access token is void from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_expires_at: Option<Timestamp>,
    /// Which pepper made the MACs.
    pub pepper_version: u32,
    /// Everything of it is void from then on.
    pub expires_at: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// The code was exchanged for tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRedeemed {
    /// Which grant.
    pub grant: GrantId,
    /// Whose.
    pub app: AppId,
    /// The team that it may act in.
    pub team: TeamId,
    /// HMAC-SHA-256 of the access token, in hex.
    pub token_mac: String,
    /// The access token is void from then on.
    pub token_expires_at: Timestamp,
    /// HMAC-SHA-256 of the refresh token, in hex.
    pub refresh_mac: String,
    /// Which pepper made the MACs.
    pub pepper_version: u32,
    /// Void from then on unless it is refreshed.
    pub idle_until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// A refresh token was exchanged for another one and an access token, which takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRefreshed {
    /// Which grant.
    pub grant: GrantId,
    /// Whose.
    pub app: AppId,
    /// The team that it may act in.
    pub team: TeamId,
    /// What the access token may do: the grant's scopes or fewer.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of the access token, in hex.
    pub token_mac: String,
    /// The access token is void from then on.
    pub token_expires_at: Timestamp,
    /// HMAC-SHA-256 of the new refresh token, in hex.
    pub refresh_mac: String,
    /// Which pepper made the MACs.
    pub pepper_version: u32,
    /// Void from then on unless it is refreshed.
    pub idle_until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// The access token is void before its time; the grant may be refreshed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantTokenRevoked {
    /// Which grant.
    pub grant: GrantId,
    /// Whose.
    pub app: AppId,
    /// The team that it may act in.
    pub team: TeamId,
    /// When.
    pub at: Timestamp,
}

/// Why a grant ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantEnd {
    /// The person took it back.
    Withdrawn,
    /// The application gave it back.
    Returned,
    /// The code was presented twice: somebody has a copy.
    CodeReused,
    /// A refresh token was presented twice: somebody has a copy.
    RefreshReused,
}

/// A grant is over, before its time, with every token that came from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantRevoked {
    /// Which grant.
    pub grant: GrantId,
    /// Whose.
    pub app: AppId,
    /// The team that it could act in.
    pub team: TeamId,
    /// Why.
    pub reason: GrantEnd,
    /// When.
    pub at: Timestamp,
}
