//! What is worth keeping of the work of access itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TeamId;
use crate::time::Timestamp;

/// Requests were refused: one event stands for many of a kind, so that an attack does not fill the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessRefused {
    /// Which gateway refused them.
    pub gateway: String,
    /// The team whose credential or resource it was about, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// The word for programs that the client was given, such as `insufficient_scope`.
    pub code: String,
    /// What was wanted, as method and route, of the last one.
    pub route: String,
    /// The credential, as actors are written, when it was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Source address of the last one.
    pub source: String,
    /// How many since the last such event of this kind.
    pub count: u64,
    /// When, the last one.
    pub at: Timestamp,
}

/// A gateway began to serve. Its sequence also tells that gateway how much of the log it must know first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayStarted {
    /// Its name, another one at every start.
    pub gateway: String,
    /// Version of the program.
    pub version: String,
    /// When.
    pub at: Timestamp,
}

/// From its own position on, events of CONTROL count only with a signature. Readers are configured with that position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignaturesRequired {
    /// Id of the key that signed it, in hex.
    pub key: String,
    /// When.
    pub at: Timestamp,
}
