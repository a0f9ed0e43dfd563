//! A batch of changes that belong together: rows of several trees, and the checkpoints of the
//! streams that they came from.

use std::collections::BTreeMap;

use crate::{Checkpoint, Tree};

/// Puts and deletes that are applied together or not at all.
///
/// Each key has one outcome, the last one requested. Engines disagree about two writes to one key
/// in one batch, so they never see two.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) rows: BTreeMap<(Tree, Vec<u8>), Option<Vec<u8>>>,
    pub(crate) checkpoints: BTreeMap<String, Checkpoint>,
}

impl Batch {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(
        &mut self,
        tree: Tree,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.rows.insert((tree, key.into()), Some(value.into()));
        self
    }

    /// Deletes a row; deleting a missing row has no effect.
    pub fn delete(&mut self, tree: Tree, key: impl Into<Vec<u8>>) -> &mut Self {
        self.rows.insert((tree, key.into()), None);
        self
    }

    /// Moves the checkpoint of one stream. Other streams keep theirs.
    pub fn checkpoint(&mut self, stream: &str, at: Checkpoint) -> &mut Self {
        self.checkpoints.insert(stream.to_owned(), at);
        self
    }

    /// Number of rows that this batch writes, including checkpoints: the number that
    /// [`Limits::rows`](crate::Limits) limits.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len() + self.checkpoints.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }
}
