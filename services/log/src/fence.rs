//! The stream FENCE: who serves on which lease, and which changes of access every gateway must have applied.
//!
//! Its rules are in `waybill_domain::access::fence`. It forgets after an hour, and nothing in it is read back but through its tail:
//! only that gives every record, in the one order that all of them stand in.

use std::time::Duration;

use async_trait::async_trait;
use waybill_domain::access::fence::{FenceRecord, LeaseRecord, MarkRecord};
use waybill_domain::event::DecodeError;

use crate::{Bounds, ReadError, Record, StreamSeq, Tail};

/// A record may or may not be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("FENCE does not acknowledge: {reason}")]
pub struct FenceAway {
    /// For an operator.
    pub reason: String,
}

/// The stream FENCE.
#[async_trait]
pub trait Fences: Send + Sync + 'static {
    /// Stores a record and gives its place. It is sent once: another one in its stead is harmless, and says what is true then.
    async fn publish(&self, record: FenceRecord, within: Duration) -> Result<StreamSeq, FenceAway>;

    /// Reads in order from `from` (inclusive), for ever. What is forgotten is left out: the places of the records show that.
    fn records(&self, from: StreamSeq) -> Box<dyn Tail>;

    /// First and last place, from the stream's leader. It may be one that was deposed a moment ago: what it says is then too low.
    async fn fence_bounds(&self) -> Result<Bounds, ReadError>;

    /// Gives up the connections and makes new ones, to another server if there is one: the one now may be hanging.
    async fn reconnect(&self);
}

/// Reads a record of FENCE.
///
/// # Errors
/// When it is of a version that is not known here.
pub fn fence_record(record: &Record) -> Result<FenceRecord, DecodeError> {
    FenceRecord::decode(&record.event, &record.payload)
}

/// Who is said to have written a record.
pub(crate) fn actor(record: &FenceRecord) -> String {
    let (FenceRecord::Lease(LeaseRecord { gateway, .. })
    | FenceRecord::Mark(MarkRecord { gateway, .. })) = record;
    format!("system:gateway-{gateway}")
}
