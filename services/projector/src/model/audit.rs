//! The audit trees from which proofs are made: hashes of complete subtrees, and the positions of
//! events in their trees.
//!
//! The notary signs trees with the same leaves in the same order, so its roots are equal. A proof
//! reads as many rows as the tree is high.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use waybill_domain::audit::TreeId;
use waybill_domain::audit::merkle::{self, Frontier, Hash, Node, Nodes};
use waybill_domain::audit::tree::team_of;
use waybill_log::{Record, StreamSeq};
use waybill_store::{Batch, KeyRange, Store, View};

use super::page::InvalidQuery;
use super::reader::ReaderError;
use super::{AUDIT_LEAVES, AUDIT_NODES, ModelError, row_error};
use crate::query::{Consistency, Inclusion, ProveConsistency, ProveInclusion};

/// Limit of trees whose right edges are cached between batches; those of others are read again.
const MAX_FRONTIERS: usize = 4_096;
/// Ends the name of a tree, which cannot contain this byte.
const END: u8 = 0;

/// The trees as of the last batch.
pub(super) struct Growth {
    /// Creation time of CONTROL, in nanoseconds since the epoch.
    stream: i64,
    frontiers: HashMap<TreeId, Frontier>,
}

impl Growth {
    pub(super) fn new(stream: i64) -> Self {
        Self {
            stream,
            frontiers: HashMap::new(),
        }
    }

    /// Adds events to the trees that they belong to. Earlier ones are in the store.
    pub(super) fn append(
        &mut self,
        store: &Store,
        batch: &mut Batch,
        records: &[Record],
    ) -> Result<(), ModelError> {
        if self.frontiers.len() > MAX_FRONTIERS {
            self.frontiers.clear();
        }
        let view = store.view()?;
        for record in records {
            let stored = record.stored();
            let leaf = stored.leaf(self.stream);
            let team = team_of(&stored).map(TreeId::Team);
            for tree in [Some(TreeId::Control), team].into_iter().flatten() {
                let frontier = match self.frontiers.entry(tree.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(vacant) => vacant.insert(stand(&view, &tree).frontier()?),
                };
                let index = frontier.size().to_be_bytes();
                batch.put(AUDIT_LEAVES, leaf_key(&tree, record.seq), index);
                frontier.append_with(leaf, |node, hash| {
                    batch.put(AUDIT_NODES, node_key(&tree, node), hash.0);
                });
            }
        }
        Ok(())
    }
}

fn prefix(tree: &TreeId) -> Vec<u8> {
    [tree.name().as_bytes(), &[END]].concat()
}

fn leaf_key(tree: &TreeId, seq: StreamSeq) -> Vec<u8> {
    [&prefix(tree)[..], &seq.0.to_be_bytes()].concat()
}

fn node_key(tree: &TreeId, node: Node) -> Vec<u8> {
    [&prefix(tree)[..], &[node.level], &node.index.to_be_bytes()].concat()
}

/// A tree in one view of the store.
struct Stand<'v, 's> {
    view: &'v View<'s>,
    tree: &'v TreeId,
}

fn stand<'v, 's>(view: &'v View<'s>, tree: &'v TreeId) -> Stand<'v, 's> {
    Stand { view, tree }
}

impl Stand<'_, '_> {
    fn size(&self) -> Result<u64, ModelError> {
        let range = KeyRange::prefix(&prefix(self.tree)).descending();
        match self.view.range(AUDIT_LEAVES, &range)?.next().transpose()? {
            None => Ok(0),
            Some((_, index)) => Ok(read_index(&index)? + 1),
        }
    }

    /// Index of an event; `None` if it is not in this tree.
    fn index_of(&self, seq: StreamSeq) -> Result<Option<u64>, ModelError> {
        let row = self.view.get(AUDIT_LEAVES, &leaf_key(self.tree, seq))?;
        row.map(|index| read_index(&index)).transpose()
    }

    fn frontier(&self) -> Result<Frontier, ModelError> {
        let size = self.size()?;
        // A complete subtree for each bit that is set, largest first.
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| {
            self.node(Node {
                // `level` is below 64.
                level: u8::try_from(level).unwrap_or(u8::MAX),
                index: (size >> level) - 1,
            })
        });
        let peaks = peaks.collect::<Result<_, _>>()?;
        Frontier::from_parts(size, peaks)
            .ok_or_else(|| row_error(AUDIT_NODES, "a tree without its peaks"))
    }
}

impl Nodes for Stand<'_, '_> {
    type Error = ModelError;

    fn node(&self, node: Node) -> Result<Hash, ModelError> {
        let row = self.view.get(AUDIT_NODES, &node_key(self.tree, node))?;
        row.and_then(|bytes| Hash::from_slice(&bytes))
            .ok_or_else(|| row_error(AUDIT_NODES, "a subtree without a hash"))
    }
}

fn read_index(bytes: &[u8]) -> Result<u64, ModelError> {
    let bytes = bytes.try_into().map(u64::from_be_bytes);
    bytes.map_err(|_| row_error(AUDIT_LEAVES, "a leaf without an index"))
}

/// Proves that an event is in its tree; `None` if it is not.
pub(super) fn inclusion(
    view: &View<'_>,
    query: &ProveInclusion,
) -> Result<Option<Inclusion>, ReaderError> {
    let tree = &tree(query.team.as_ref());
    let stand = stand(view, tree);
    let Some(index) = stand.index_of(query.seq)? else {
        return Ok(None);
    };
    check_size("size", query.size, stand.size()?)?;
    let path = merkle::inclusion(&stand, index, query.size).map_err(|_| {
        let message = format!(
            "size must be above {index}: the event came later than the tree of {} events",
            query.size
        );
        InvalidQuery::new("size", message)
    })??;
    Ok(Some(Inclusion {
        index,
        leaf: stand.node(Node { level: 0, index })?,
        path,
        root: merkle::root_at(&stand, query.size)?,
    }))
}

/// Proves that a tree is an extension of an earlier one.
pub(super) fn consistency(
    view: &View<'_>,
    query: &ProveConsistency,
) -> Result<Consistency, ReaderError> {
    let tree = &tree(query.team.as_ref());
    let stand = stand(view, tree);
    check_size("to", query.to, stand.size()?)?;
    let path = merkle::consistency(&stand, query.from, query.to).map_err(|_| {
        let message = format!("from must be at most {}, not {}", query.to, query.from);
        InvalidQuery::new("from", message)
    })??;
    Ok(Consistency {
        path,
        from_root: merkle::root_at(&stand, query.from)?,
        to_root: merkle::root_at(&stand, query.to)?,
    })
}

fn tree(team: Option<&waybill_domain::id::TeamId>) -> TreeId {
    team.map_or(TreeId::Control, |team| TreeId::Team(team.base()))
}

fn check_size(field: &'static str, asked: u64, size: u64) -> Result<(), InvalidQuery> {
    if asked <= size {
        return Ok(());
    }
    let message = format!("{field} must be at most {size}, the events there are, not {asked}");
    Err(InvalidQuery::new(field, message))
}

#[cfg(test)]
mod tests;
