//! Events about the operation of access control itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TeamId;
use crate::time::Timestamp;

/// Requests were refused. One event stands for many requests of a kind, so that an attack does not
/// fill the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessRefused {
    /// Id of the gateway that refused them.
    pub gateway: String,
    /// The team whose credential or resource was concerned, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<TeamId>,
    /// The error code that the client received, such as `insufficient_scope`.
    pub code: String,
    /// Method and route of the last request.
    pub route: String,
    /// The credential, in the form of the header `Wb-Actor`, if it was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Source address of the last request.
    pub source: String,
    /// Number of refused requests since the previous event of this kind.
    pub count: u64,
    /// When the last request was refused.
    pub at: Timestamp,
}

/// A gateway started to serve. The sequence of this event also tells that gateway how much of the
/// log it must apply first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayStarted {
    /// Id of the gateway; another one at every start.
    pub gateway: String,
    /// Version of Waybill.
    pub version: String,
    pub at: Timestamp,
}

/// From this record on, events of CONTROL count only with a signature. Readers are configured with
/// its sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignaturesRequired {
    /// Id of the key that signed this record, in hex.
    pub key: String,
    pub at: Timestamp,
}
