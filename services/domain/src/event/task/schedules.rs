//! Which gateway runs schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::DecodeError;
use crate::time::Timestamp;

/// A gateway begins to run the schedules whose tasks are in a partition. The sequence of this record is the fence of
/// everything that it appends there from then on for them: so what another one appends that still takes itself for the runner is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulesLed {
    /// Id of the gateway.
    pub gateway: String,
    pub at: Timestamp,
}

impl SchedulesLed {
    /// Value of the header `Wb-Event`.
    pub const NAME: &'static str = "schedules.led.v1";

    /// Encodes as MessagePack with named fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a plain struct to memory cannot fail.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// Reads what [`SchedulesLed::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        rmp_serde::from_slice(payload).map_err(|error| DecodeError::Malformed {
            name: Self::NAME.into(),
            reason: error.to_string(),
        })
    }
}
