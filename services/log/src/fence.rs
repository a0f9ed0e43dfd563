//! The stream FENCE: who serves on which lease, and which changes of access every gateway must have applied.
//!
//! Its rules are in `waybill_domain::access::fence`. It forgets after an hour, and nothing in it is read back but through its tail:
//! only that gives every record, in the one order that all of them stand in.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use waybill_domain::access::fence::{FenceRecord, LeaseKind};
use waybill_domain::event::DecodeError;
use waybill_domain::trust::{Trust, Void};

use crate::subject::FenceSubject;
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

    /// First and last place, from the stream's leader. It may be one that was deposed: what it says is then too low.
    async fn fence_bounds(&self) -> Result<Bounds, ReadError>;

    /// For how long a leader that was deposed may go on to answer. Zero where there is one copy.
    fn deposed_for(&self) -> Duration {
        Duration::ZERO
    }

    /// What messages of the barrier are signed with, and whose signatures count.
    fn trust(&self) -> Arc<Trust> {
        Arc::default()
    }

    /// Gives up the connections and makes new ones, to another server if there is one: the one now may be hanging.
    async fn reconnect(&self);
}

/// Why a record of FENCE says nothing here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoFenceRecord {
    /// It is of a version that is not known here.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// It is not signed by whoever may say it: it says nothing, and nobody holds a lease on it.
    #[error(transparent)]
    Void(#[from] Void),
    /// It stands where its writer may write and does not say what may be said there: who may write for workers speaks for no gateway.
    #[error("a record on {subject} belongs on {expected}")]
    Misplaced {
        /// Where it stands.
        subject: String,
        /// Where one that says this would stand.
        expected: String,
    },
}

/// Reads a record of FENCE.
///
/// # Errors
/// When it is of a version that is not known here, or stands on a subject of somebody else.
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

/// Who is said to have written a record.
pub(crate) fn actor(record: &FenceRecord) -> String {
    let (kind, id) = match record {
        FenceRecord::Lease(lease) => (lease.kind, &lease.gateway),
        FenceRecord::Mark(mark) => (LeaseKind::Gateway, &mark.gateway),
    };
    format!("system:{}-{id}", kind.as_str())
}
