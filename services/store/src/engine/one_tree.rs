//! Many trees in one: the first byte of a key says which tree it belongs to.
//!
//! Both engines on disk have trees of their own, but neither is used. sled's batches are atomic
//! within one tree only. fjall's are atomic over its keyspaces until bytes are lost: each keyspace
//! is flushed to files on its own, so after the journal was truncated, one keyspace may be ahead of
//! the other: rows without their checkpoint. Within a single keyspace, what survives is always a
//! prefix of the history.

use std::ops::Bound;

use super::{Row, TreeIndex};
use crate::KeyRange;

pub(super) fn key_in(tree: TreeIndex, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(tree.0);
    bytes.extend_from_slice(key);
    bytes
}

pub(super) fn range_in(tree: TreeIndex, keys: &KeyRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let end = match keys.end() {
        Some(end) => key_in(tree, end),
        None => vec![tree.0 + 1],
    };
    (
        Bound::Included(key_in(tree, keys.start())),
        Bound::Excluded(end),
    )
}

/// The row, as its tree knows it.
pub(super) fn row_out(key: &[u8], value: &[u8]) -> Row {
    (key.get(1..).unwrap_or_default().to_vec(), value.to_vec())
}
