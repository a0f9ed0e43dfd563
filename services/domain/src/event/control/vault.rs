//! What happens to the tokens of the vault, and to the keys that it is sealed with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, TaskId, TeamId, TokenId};
use crate::time::Timestamp;

/// A credential is in the vault. Its value is sealed; the key of the seal is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// Its id.
    pub token: TokenId,
    /// Whose it is.
    pub team: TeamId,
    /// The world whose tasks may refer to it.
    pub environment: Environment,
    /// For people.
    pub name: String,
    /// Which value this is: the first.
    pub version: u32,
    /// The sealed value, in unpadded base64url. It opens nothing without its key, which can be erased.
    pub envelope: String,
    /// The value can stand in a header.
    pub fits_header: bool,
    /// Hosts that it may be sent to. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_hosts: Vec<String>,
    /// From when on nothing may refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Who put it there, as actors are written.
    pub created_by: String,
    /// When.
    pub at: Timestamp,
}

/// A token of the vault has another value. Whatever refers to it means this one from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRotated {
    /// Which token.
    pub token: TokenId,
    /// Whose it is.
    pub team: TeamId,
    /// Which value this is: more than before, usually by one.
    pub version: u32,
    /// The sealed value, in unpadded base64url.
    pub envelope: String,
    /// The value can stand in a header.
    pub fits_header: bool,
    /// When.
    pub at: Timestamp,
}

/// Why a token of the vault was revoked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEnd {
    /// Somebody entitled wanted it.
    #[default]
    Requested,
    /// Its time was over.
    Expired,
    /// Its team was deleted.
    TeamDeleted,
}

/// Nothing may use a token of the vault any more, and its keys are to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    /// Which token.
    pub token: TokenId,
    /// Whose it is.
    pub team: TeamId,
    /// Why.
    #[serde(default)]
    pub reason: TokenEnd,
    /// When.
    pub at: Timestamp,
}

/// The keys of a token are erased: what the log holds of it opens for nobody, ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenShredded {
    /// Which token.
    pub token: TokenId,
    /// Whose it was.
    pub team: TeamId,
    /// When.
    pub at: Timestamp,
}

/// A task used a token of the vault for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenUsed {
    /// Which token.
    pub token: TokenId,
    /// Whose it is.
    pub team: TeamId,
    /// The world of the task.
    pub environment: Environment,
    /// Which value was sent.
    pub version: u32,
    /// The task.
    pub task: TaskId,
    /// To which host.
    pub host: String,
    /// When.
    pub at: Timestamp,
}

/// Gateways seal to another key from now on. Only its name is here; keys never travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VaultKekIntroduced {
    /// Which key-encryption key: 16 hexadecimal digits.
    pub kek: String,
    /// When.
    pub at: Timestamp,
}
