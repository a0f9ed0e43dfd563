//! Ownership of a partition by a worker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::DecodeError;
use crate::seq::StreamSeq;
use crate::time::Timestamp;

/// A worker took over a partition, or still owns it. The sequence of this record is the fence of
/// everything that the worker appends there from then on.
///
/// An owner writes this record again when it moves the partition's low-water mark. Mark and fence
/// are one record, so a stale owner, whose fence is no longer the latest, cannot move the mark
/// either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionOwned {
    /// Id of the worker.
    pub worker: String,
    pub at: Timestamp,
    /// The partition's low-water mark: records before it are no longer needed. Absent: all are
    /// needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<StreamSeq>,
}

impl PartitionOwned {
    /// Value of the header `Wb-Event`.
    pub const NAME: &'static str = "partition.owned.v1";

    /// Encodes as MessagePack with named fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a plain struct to memory cannot fail.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// Reads what [`PartitionOwned::encode`] writes.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        rmp_serde::from_slice(payload).map_err(|error| DecodeError::Malformed {
            name: Self::NAME.into(),
            reason: error.to_string(),
        })
    }
}
