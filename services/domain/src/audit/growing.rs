//! A tree as its notary keeps it: the leaves that were signed, and those that came since.
//!
//! A notary reads the log from the beginning when it starts, and must arrive at the same roots as
//! were signed before. If it went on with another tree, or with an empty one, it would sign a fork.

use std::collections::VecDeque;

use super::checkpoint::{Checkpoint, Covering, MAX_LEAVES, Signed};
use super::merkle::{Frontier, Hash};
use super::note::NotaryKey;
use super::tree::TreeId;
use crate::seq::StreamSeq;

/// A tree as its notary keeps it: the leaves that were signed, and those that came since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growing {
    tree: TreeId,
    /// The tree at the newest checkpoint.
    signed: Frontier,
    last: Option<Signed>,
    /// Sequence and time of the last leaf that the checkpoint covers.
    end: (StreamSeq, i64),
    pending: VecDeque<Leaf>,
}

/// A leaf, and the record that it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Hash of the leaf, as the tree uses it.
    pub hash: Hash,
    /// Sequence in CONTROL.
    pub seq: StreamSeq,
    /// When the server stored the record, in nanoseconds since the Unix epoch.
    pub time_ns: i64,
}

/// The log differs from what was signed: nothing may be signed on top of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Root, sequence or time differ at the size of the checkpoint.
    #[error("{tree} differs from what was signed at size {size}, at or before sequence {seq}")]
    Differs {
        /// Name of the tree.
        tree: String,
        /// Leaves of the checkpoint.
        size: u64,
        /// Last sequence that it covers.
        seq: StreamSeq,
    },
    /// The log has fewer leaves than were signed.
    #[error(
        "{tree} has {found} events, and {signed} were signed: the log has lost its end, or is another one"
    )]
    Shorter {
        /// Name of the tree.
        tree: String,
        /// Leaves in the log.
        found: u64,
        /// Leaves of the checkpoint.
        signed: u64,
    },
    /// The checkpoint is of another stream.
    #[error(
        "{tree} was signed for another CONTROL, made at {signed} and not at {found} (nanoseconds)"
    )]
    OtherStream {
        /// Name of the tree.
        tree: String,
        /// Creation time of the stream that was signed, in nanoseconds.
        signed: i64,
        /// Creation time of the stream that exists now, in nanoseconds.
        found: i64,
    },
}

impl Growing {
    /// An empty tree whose newest checkpoint is `last`. The caller appends all leaves again, and
    /// they are compared with it.
    #[must_use]
    pub fn new(tree: TreeId, last: Option<Signed>) -> Self {
        Self {
            tree,
            signed: Frontier::default(),
            last,
            end: (StreamSeq(0), 0),
            pending: VecDeque::new(),
        }
    }

    /// Leaves that the newest checkpoint covers.
    fn covered(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.checkpoint.size)
    }

    /// The newest checkpoint.
    #[must_use]
    pub fn last(&self) -> Option<&Signed> {
        self.last.as_ref()
    }

    /// All leaves, signed or not.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.signed.size() + self.pending.len() as u64
    }

    /// The oldest leaf that no checkpoint covers yet.
    #[must_use]
    pub fn uncovered(&self) -> Option<&Leaf> {
        self.pending.front()
    }

    /// Adds a leaf. When the tree reaches the size of the newest checkpoint, it is compared with
    /// it.
    pub fn append(&mut self, leaf: Leaf) -> Result<(), Mismatch> {
        if self.signed.size() >= self.covered() {
            self.pending.push_back(leaf);
            return Ok(());
        }
        self.signed.append(leaf.hash);
        self.end = (leaf.seq, leaf.time_ns);
        let Some(last) = self.last.as_ref().map(|last| &last.checkpoint) else {
            return Ok(());
        };
        let is_same =
            last.root == self.signed.root() && (last.last_seq, last.last_time_ns) == self.end;
        if self.signed.size() == last.size && !is_same {
            return Err(Mismatch::Differs {
                tree: self.tree.name().into(),
                size: last.size,
                seq: last.last_seq,
            });
        }
        Ok(())
    }

    /// Called once the whole log has been appended: fails if less was appended than was signed, or
    /// if another stream was signed.
    pub fn check(&self, stream: i64) -> Result<(), Mismatch> {
        let Some(last) = self.last.as_ref().map(|last| &last.checkpoint) else {
            return Ok(());
        };
        let tree = self.tree.name().to_owned();
        if last.stream != stream {
            return Err(Mismatch::OtherStream {
                tree,
                signed: last.stream,
                found: stream,
            });
        }
        if self.signed.size() < last.size {
            let (found, signed) = (self.signed.size(), last.size);
            return Err(Mismatch::Shorter {
                tree,
                found,
                signed,
            });
        }
        Ok(())
    }

    /// The next checkpoint, over at most [`MAX_LEAVES`] more leaves. It takes effect with
    /// [`Growing::signed`], once it is stored.
    #[must_use]
    pub fn next(
        &self,
        deployment: &str,
        stream: i64,
        now_ns: i64,
        key: &NotaryKey,
    ) -> (Signed, Covering) {
        let count = self.pending.len().min(MAX_LEAVES);
        let mut frontier = self.signed.clone();
        let mut leaves = Vec::with_capacity(count * Hash::BYTES);
        let mut end = self.end;
        for leaf in self.pending.iter().take(count) {
            frontier.append(leaf.hash);
            leaves.extend_from_slice(&leaf.hash.0);
            end = (leaf.seq, leaf.time_ns);
        }
        let before = self.last.as_ref().map(|last| last.checkpoint.signed_ns);
        let checkpoint = Checkpoint {
            deployment: deployment.to_owned(),
            tree: self.tree.clone(),
            size: frontier.size(),
            root: frontier.root(),
            last_seq: end.0,
            last_time_ns: end.1,
            stream,
            // Clocks of two notaries may differ; the order of checkpoints does not.
            signed_ns: before.map_or(now_ns, |before| before.max(now_ns)),
            previous: self.last.as_ref().map(Signed::hash),
        };
        let signed = Signed::new(checkpoint, key);
        let covering = Covering {
            note: signed.note.clone(),
            leaves,
        };
        (signed, covering)
    }

    /// Records that the checkpoint from [`Growing::next`] was stored.
    pub fn signed(&mut self, signed: Signed) {
        let added = signed.checkpoint.size.saturating_sub(self.signed.size());
        let added = usize::try_from(added)
            .unwrap_or(usize::MAX)
            .min(self.pending.len());
        for leaf in self.pending.drain(..added) {
            self.signed.append(leaf.hash);
            self.end = (leaf.seq, leaf.time_ns);
        }
        self.last = Some(signed);
    }
}

#[cfg(test)]
mod tests;
