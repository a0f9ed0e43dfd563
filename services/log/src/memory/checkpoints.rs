//! The stream AUDITCP in memory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use waybill_domain::audit::TreeId;

use crate::checkpoints::{Checkpoints, StoredCheckpoint, subject};
use crate::{AppendError, ReadError, StreamSeq};

/// Checkpoints in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints {
    /// Locked for one operation at a time, never across an await.
    all: Arc<Mutex<Vec<(TreeId, StoredCheckpoint)>>>,
}

impl MemoryCheckpoints {
    /// All checkpoints, for tests that inspect or change them.
    pub fn all(&self) -> MutexGuard<'_, Vec<(TreeId, StoredCheckpoint)>> {
        self.all.lock()
    }

    fn of(&self, tree: &TreeId) -> Vec<StoredCheckpoint> {
        let all = self.all();
        all.iter()
            .filter(|(of, _)| of == tree)
            .map(|(_, stored)| stored.clone())
            .collect()
    }
}

#[async_trait]
impl Checkpoints for MemoryCheckpoints {
    async fn append_checkpoint(
        &self,
        tree: &TreeId,
        after: StreamSeq,
        value: Bytes,
    ) -> Result<StreamSeq, AppendError> {
        let mut all = self.all();
        let last = all
            .iter()
            .rev()
            .find(|(of, _)| of == tree)
            .map(|(_, stored)| stored.seq);
        if last.unwrap_or_default() != after {
            return Err(AppendError::Conflict {
                filter: subject(tree),
                expected: after,
            });
        }
        let seq = all
            .last()
            .map_or(StreamSeq(1), |(_, stored)| stored.seq.next());
        all.push((tree.clone(), StoredCheckpoint { seq, value }));
        Ok(seq)
    }

    async fn last_checkpoint(&self, tree: &TreeId) -> Result<Option<StoredCheckpoint>, ReadError> {
        Ok(self.of(tree).pop())
    }

    async fn checkpoints(
        &self,
        tree: &TreeId,
        from: StreamSeq,
        limit: usize,
    ) -> Result<Vec<StoredCheckpoint>, ReadError> {
        let all = self.of(tree);
        Ok(all
            .into_iter()
            .filter(|stored| stored.seq >= from)
            .take(limit)
            .collect())
    }
}
