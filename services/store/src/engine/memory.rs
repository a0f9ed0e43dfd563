//! The engine for tests and simulation: ordered maps behind one pointer.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLock;

use super::{Change, Fault, Limits, RowIter, Snapshot, Storage, TreeIndex};
use crate::{KeyRange, key_range::Order};

/// The same as fjall's, so that a test in memory meets the limits of production.
pub(super) const LIMITS: Limits = super::fjall::LIMITS;

type Trees = Vec<BTreeMap<Vec<u8>, Vec<u8>>>;

/// A snapshot is a second pointer to the maps. A writer that finds one copies the maps before
/// changing them.
pub(crate) struct MemoryStorage {
    trees: RwLock<Arc<Trees>>,
}

impl MemoryStorage {
    pub(crate) fn new(trees: usize) -> Self {
        Self {
            trees: RwLock::new(Arc::new(vec![BTreeMap::new(); trees + 1])),
        }
    }

    fn now(&self) -> Arc<Trees> {
        Arc::clone(&self.trees.read())
    }
}

impl Storage for MemoryStorage {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let trees = self.trees.read();
        Ok(trees[usize::from(tree.0)].get(key).cloned())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), Fault> {
        let mut trees = self.trees.write();
        let trees = Arc::make_mut(&mut trees);
        for Change { tree, key, value } in changes {
            let rows = &mut trees[usize::from(tree.0)];
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
        Ok(Box::new(MemorySnapshot(self.now())))
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn verify(&self) -> Result<u64, Fault> {
        let rows = self.now();
        let bytes = rows
            .iter()
            .flatten()
            .map(|(key, value)| key.len() + value.len());
        Ok(bytes.sum::<usize>() as u64)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

struct MemorySnapshot(Arc<Trees>);

impl Snapshot for MemorySnapshot {
    fn get(&self, tree: TreeIndex, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0[usize::from(tree.0)].get(key).cloned())
    }

    fn range(&self, tree: TreeIndex, keys: &KeyRange) -> RowIter<'_> {
        let end = keys.end().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.0[usize::from(tree.0)]
            .range::<[u8], _>((Bound::Included(keys.start()), end))
            .map(|(key, value)| Ok((key.clone(), value.clone())));
        match keys.order() {
            Order::Ascending => Box::new(rows),
            Order::Descending => Box::new(rows.rev()),
        }
    }
}
