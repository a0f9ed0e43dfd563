//! The stream FENCE: who serves on which lease, and which changes of access every gateway must have applied.
//!
//! `waybill_domain::access::fence` has its rules. The stream drops records after an hour, and they
//! are read through its tail only: that is the way to get every record in the one order that all
//! readers share.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use waybill_domain::access::fence::{FenceRecord, LeaseKind};
use waybill_domain::event::DecodeError;
use waybill_domain::trust::{Trust, Void};

use crate::subject::FenceSubject;
use crate::{Bounds, ReadError, Record, StreamSeq, Tail};

/// FENCE did not acknowledge a record, which may or may not be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("FENCE did not acknowledge the record: {reason}")]
pub struct FenceAway {
    /// What is wrong, for an operator.
    pub reason: String,
    /// Whether the server has answered that there is no room for it: another connection would not
    /// help.
    pub is_full: bool,
}

/// The stream FENCE.
#[async_trait]
pub trait Fences: Send + Sync + 'static {
    /// Stores a record and returns its position. It is sent once: instead of repeating it, the
    /// caller publishes another record that says what is true by then.
    async fn publish(&self, record: FenceRecord, within: Duration) -> Result<StreamSeq, FenceAway>;

    /// An endless reader from `from` (inclusive), in order. Records that were dropped are skipped,
    /// which shows in the positions of the others.
    fn records(&self, from: StreamSeq) -> Box<dyn Tail>;

    /// First and last position, from the stream's leader. If that is a former leader, they may be
    /// too low.
    async fn fence_bounds(&self) -> Result<Bounds, ReadError>;

    /// How long a former leader may go on answering. Zero for a stream with one replica.
    fn deposed_for(&self) -> Duration {
        Duration::ZERO
    }

    /// The key that signs messages of the barrier, and the keys whose signatures count.
    fn trust(&self) -> Arc<Trust> {
        Arc::default()
    }

    /// Replaces the connections by new ones, to another server if there is one, since the present
    /// server may hang.
    async fn reconnect(&self);
}

/// Why a record of FENCE is ignored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoFenceRecord {
    /// This build does not know its type or version, or cannot decode it.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It lacks the signature of a writer that may publish it, so nobody holds a lease by it.
    #[error(transparent)]
    Void(#[from] Void),
    /// It is stored on a subject that does not belong to it: a worker, which may write only on
    /// subjects of workers, cannot speak for a gateway.
    #[error("a record on {subject} belongs on {expected}")]
    Misplaced {
        /// The subject it is stored on.
        subject: String,
        /// The subject that a record with this content belongs on.
        expected: String,
    },
}

/// Reads a record of FENCE.
///
/// # Errors
/// If it is unsigned, of an unknown version, or stored on a subject that does not belong to it.
pub fn fence_record(record: &Record) -> Result<FenceRecord, NoFenceRecord> {
    if let Some(void) = record.void() {
        return Err(void.clone().into());
    }
    let read = FenceRecord::decode(&record.event, &record.payload)?;
    let expected = FenceSubject::of(&read).to_string();
    if expected == record.subject {
        Ok(read)
    } else {
        Err(NoFenceRecord::Misplaced {
            subject: record.subject.clone(),
            expected,
        })
    }
}

/// The `Wb-Actor` of a record.
pub(crate) fn actor(record: &FenceRecord) -> String {
    let (kind, id) = match record {
        FenceRecord::Lease(lease) => (lease.kind, &lease.gateway),
        FenceRecord::Mark(mark) => (LeaseKind::Gateway, &mark.gateway),
    };
    format!("system:{}-{id}", kind.as_str())
}
