//! Events of a team's OAuth applications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::scope::Scope;
use crate::id::{AppId, Environment, TeamId};
use crate::time::Timestamp;

/// A team registered an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppCreated {
    /// The application; also its `client_id`.
    pub app: AppId,
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    /// Environment of its tokens.
    pub environment: Environment,
    /// Registered redirect URIs, which are compared exactly.
    pub redirect_uris: Vec<String>,
    /// The widest scopes that the application can be granted.
    pub scopes: Vec<Scope>,
    /// HMAC-SHA-256 of its secret, in hex. Absent for a public client, which could not keep a
    /// secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_mac: Option<String>,
    /// Version of the pepper under which `secret_mac` was made.
    #[serde(default)]
    pub pepper_version: u32,
    /// Who registered it, in the form of the header `Wb-Actor`.
    pub created_by: String,
    pub at: Timestamp,
}

/// The description of an application was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppChanged {
    pub app: AppId,
    pub team: TeamId,
    /// Name shown to people.
    pub name: String,
    /// Registered redirect URIs, which are compared exactly.
    pub redirect_uris: Vec<String>,
    /// The widest scopes that the application can be granted; existing grants are narrowed to them.
    pub scopes: Vec<Scope>,
    pub at: Timestamp,
}

/// The secret of an application was replaced; the previous one is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppSecretRotated {
    pub app: AppId,
    pub team: TeamId,
    /// HMAC-SHA-256 of the new secret, in hex.
    pub secret_mac: String,
    /// Version of the pepper under which `secret_mac` was made.
    pub pepper_version: u32,
    pub at: Timestamp,
}

/// An application was removed, along with everything that it was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppRemoved {
    pub app: AppId,
    pub team: TeamId,
    pub at: Timestamp,
}
