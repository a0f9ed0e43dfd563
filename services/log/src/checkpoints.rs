//! The stream AUDITCP: signed checkpoints of the audit trees, with one subject per tree. It is
//! append-only, like the logs that the checkpoints vouch for.
//!
//! `waybill_domain::audit` defines what a checkpoint says and who may sign it. Here checkpoints are
//! bytes in an order that nobody can fork.

use async_trait::async_trait;
use bytes::Bytes;
use waybill_domain::audit::TreeId;

use crate::{AppendError, ReadError, Record, StreamSeq};

/// Subjects of the stream: `auditcp.<tree>`.
pub(crate) const EVENT: &str = "audit.checkpoint.v1";
/// The `Wb-Actor` of a stored checkpoint.
pub(crate) const ACTOR: &str = "system:notary";

/// A checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Position in AUDITCP.
    pub seq: StreamSeq,
    /// The signed checkpoint, unchanged.
    pub value: Bytes,
}

impl From<Record> for StoredCheckpoint {
    fn from(record: Record) -> Self {
        Self {
            seq: record.seq,
            value: record.payload,
        }
    }
}

/// The stream AUDITCP.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// Appends a checkpoint if the last one of its tree has exactly the position `after` (0: there
    /// is none yet). So if two notaries both believe that they hold the lease, only one of them
    /// succeeds.
    async fn append_checkpoint(
        &self,
        tree: &TreeId,
        after: StreamSeq,
        value: Bytes,
    ) -> Result<StreamSeq, AppendError>;

    /// The newest checkpoint of a tree, read from the stream's leader.
    async fn last_checkpoint(&self, tree: &TreeId) -> Result<Option<StoredCheckpoint>, ReadError>;

    /// Up to `limit` checkpoints of a tree from `from` (inclusive), oldest first. Fewer than
    /// `limit` means that there are no more.
    async fn checkpoints(
        &self,
        tree: &TreeId,
        from: StreamSeq,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError>;
}

/// The subject of a tree's checkpoints.
pub(crate) fn subject(tree: &TreeId) -> String {
    format!("auditcp.{}", tree.name())
}
