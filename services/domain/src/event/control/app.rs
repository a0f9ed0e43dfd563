//! What happens to a team's OAuth applications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{AppId, Environment, TeamId};
use crate::time::Timestamp;

/// A team registered an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppCreated {
    /// Which; also its `client_id`.
    pub app: AppId,
    /// The team that it belongs to.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// The world that its tokens are for.
    pub environment: Environment,
    /// Where browsers may be sent with a code, to the letter.
    pub redirect_uris: Vec<String>,
    /// The most that it may be given.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of its secret, in hex. Absent: a public client, which could keep none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_mac: Option<String>,
    /// Which pepper made `secret_mac`.
    #[serde(default)]
    pub pepper_version: u32,
    /// Who registered it, as `Wb-Actor` says.
    pub created_by: String,
    /// When.
    pub at: Timestamp,
}

/// An application is described anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppChanged {
    /// Which.
    pub app: AppId,
    /// The team that it belongs to.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// Where browsers may be sent with a code, to the letter.
    pub redirect_uris: Vec<String>,
    /// The most that it may be given; what it was given before is narrowed to that.
    pub scopes: Vec<Scope>,
    /// When.
    pub at: Timestamp,
}

/// An application has another secret; the one before is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppSecretRotated {
    /// Which.
    pub app: AppId,
    /// The team that it belongs to.
    pub team: TeamId,
    /// HMAC-SHA-256 of the new secret, in hex.
    pub secret_mac: String,
    /// Which pepper made `secret_mac`.
    pub pepper_version: u32,
    /// When.
    pub at: Timestamp,
}

/// An application is gone, and with it all that it was ever given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRemoved {
    /// Which.
    pub app: AppId,
    /// The team that it belonged to.
    pub team: TeamId,
    /// When.
    pub at: Timestamp,
}
