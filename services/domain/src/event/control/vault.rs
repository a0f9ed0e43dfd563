//! Events of vault tokens, and of the keys that the vault seals with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, TaskId, TeamId, TokenId};
use crate::time::Timestamp;

/// A credential was stored in the vault. Its value is sealed, and the key of the seal is not in the
/// log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    pub token: TokenId,
    pub team: TeamId,
    /// Environment of the tasks that may refer to it.
    pub environment: Environment,
    /// Name shown to people.
    pub name: String,
    /// Version of the value, from 1.
    pub version: u32,
    /// The sealed value, in unpadded base64url. It cannot be opened without its key, which can be
    /// erased.
    pub envelope: String,
    /// Whether the value is valid in a header.
    pub fits_header: bool,
    /// Hosts that the value may be sent to. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// When the token expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Who created it, in the form of the header `Wb-Actor`.
    pub created_by: String,
    pub at: Timestamp,
}

/// A vault token has a new value, which all references to it use from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRotated {
    pub token: TokenId,
    pub team: TeamId,
    /// Version of the value: higher than before, usually by one.
    pub version: u32,
    /// The sealed value, in unpadded base64url.
    pub envelope: String,
    /// Whether the value is valid in a header.
    pub fits_header: bool,
    pub at: Timestamp,
}

/// Why a token of the vault was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEnd {
    /// An entitled person or key revoked it.
    #[default]
    Requested,
    /// It had expired.
    Expired,
    /// Its team was deleted.
    TeamDeleted,
}

/// A vault token was revoked. Nothing may use it any longer, and its keys must be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    pub token: TokenId,
    pub team: TeamId,
    #[serde(default)]
    pub reason: TokenEnd,
    pub at: Timestamp,
}

/// The keys of a token were erased: nobody can ever open what the log has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenShredded {
    pub token: TokenId,
    pub team: TeamId,
    pub at: Timestamp,
}

/// A task used a vault token for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenUsed {
    pub token: TokenId,
    pub team: TeamId,
    /// Environment of the task.
    pub environment: Environment,
    /// Version of the value that was sent.
    pub version: u32,
    pub task: TaskId,
    /// Host that it was sent to.
    pub host: String,
    pub at: Timestamp,
}

/// Gateways seal to another key from now on. The event has only the key's id; keys are never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultKekIntroduced {
    /// Id of the key-encryption key: 16 hexadecimal digits.
    pub kek: String,
    pub at: Timestamp,
}
