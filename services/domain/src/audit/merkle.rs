//! Merkle trees as in RFC 6962 (and RFC 9162, 2.1, which specifies the verification): hashing,
//! growing, and both kinds of proof.
//!
//! A tree only ever grows at its right end, so a [`Frontier`] of at most 64 hashes is enough to
//! append to it and to know its root. Proofs need the hashes of complete subtrees, which never
//! change once they exist: a store keeps them by level and index.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// A SHA-256 hash, displayed as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; Hash::BYTES]);

impl Hash {
    /// Length of a hash in bytes.
    pub const BYTES: usize = 32;

    /// The hash of any bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of a leaf: `SHA-256(0x00 || data)`.
    #[must_use]
    pub fn of_leaf(data: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(LEAF)
                .chain_update(data)
                .finalize()
                .into(),
        )
    }

    /// The hash of two subtrees: `SHA-256(0x01 || left || right)`.
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let hash = Sha256::new().chain_update(NODE).chain_update(left.0);
        Self(hash.chain_update(right.0).finalize().into())
    }

    /// A hash from its bytes. `None` unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Parses the output of `Display`: 64 lower-case hex digits. Upper case is refused, so that
    /// each hash has only one text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
        let bytes = hex::decode(text).ok().filter(|_| lower)?;
        Self::from_slice(&bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hex digits"))
    }
}

/// A complete subtree of `2^level` leaves: the `index`-th of its level from the left. Level 0 is
/// the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Height above the leaves.
    pub level: u8,
    /// Position within the level from the left, counted from 0.
    pub index: u64,
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first: one for each 1 bit of the size.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// A stored frontier. `None` if the number of peaks does not match a tree of that size.
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let expected = size.count_ones() as usize;
        (peaks.len() == expected).then_some(Self { size, peaks })
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, |_, _| ());
    }

    /// Adds a leaf, and calls `completed` for each subtree that it completes, the leaf itself first.
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(Node, Hash)) {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        completed(node, hash);
        // Each trailing 1 bit of the size is a complete subtree with which the new one merges.
        while node.index & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            hash = Hash::of_node(&left, &hash);
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
            };
            completed(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree. The root of an empty tree is the hash of no bytes.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied();
        joined
            .reduce(|right, left| Hash::of_node(&left, &right))
            .unwrap_or_else(|| Hash::of(&[]))
    }
}

/// Storage of the hashes of complete subtrees.
pub trait Nodes {
    /// Why a hash could not be read.
    type Error;
    /// The hash of a subtree. Only subtrees that are complete at the size of the query are
    /// requested.
    fn node(&self, node: Node) -> Result<Hash, Self::Error>;
}

impl<N: Nodes + ?Sized> Nodes for &N {
    type Error = N::Error;

    fn node(&self, node: Node) -> Result<Hash, N::Error> {
        (**self).node(node)
    }
}

/// The root of the first `size` leaves.
pub fn root_at<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 {
        return Ok(Hash::of(&[]));
    }
    subtree(nodes, 0, size)
}

/// Hash of the leaves `start..end`, where `start` is a multiple of the largest complete subtree within.
fn subtree<N: Nodes>(nodes: &N, start: u64, end: u64) -> Result<Hash, N::Error> {
    let width = end - start;
    if width.is_power_of_two() {
        let level = width.trailing_zeros();
        let index = start >> level;
        // At most 63, since a width is a u64.
        return nodes.node(Node {
            level: u8::try_from(level).unwrap_or(u8::MAX),
            index,
        });
    }
    let middle = start + split(width);
    Ok(Hash::of_node(
        &subtree(nodes, start, middle)?,
        &subtree(nodes, middle, end)?,
    ))
}

/// The largest power of two smaller than `width`, which is at least 2.
fn split(width: u64) -> u64 {
    1 << (u64::BITS - 1 - (width - 1).leading_zeros())
}

/// A query about a tree that cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTree {
    /// The tree has no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Leaf {
        /// Index of the requested leaf.
        index: u64,
        /// Number of leaves in the tree.
        size: u64,
    },
    /// A consistency proof from a larger size to a smaller one was requested.
    #[error("a tree of {second} leaves cannot have grown from one of {first}")]
    Sizes {
        /// The older size.
        first: u64,
        /// The newer size.
        second: u64,
    },
}

/// Proves that leaf `index` is in the tree of `size` leaves: the siblings from the leaf up to the root (RFC 9162, 2.1.3.1).
pub fn inclusion<N: Nodes>(
    nodes: &N,
    index: u64,
    size: u64,
) -> Result<Result<Vec<Hash>, N::Error>, OutOfTree> {
    if index >= size {
        return Err(OutOfTree::Leaf { index, size });
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    // Collected from the root down; the proof lists it from the leaf up.
    while end - start > 1 {
        let middle = start + split(end - start);
        let (sibling, next) = if index < middle {
            ((middle, end), (start, middle))
        } else {
            ((start, middle), (middle, end))
        };
        match subtree(nodes, sibling.0, sibling.1) {
            Ok(hash) => path.push(hash),
            Err(error) => return Ok(Err(error)),
        }
        (start, end) = next;
    }
    path.reverse();
    Ok(Ok(path))
}

/// Proves that the tree of `second` leaves begins with that of `first` (RFC 9162, 2.1.4.1). Empty when they are equal, or `first` is 0.
pub fn consistency<N: Nodes>(
    nodes: &N,
    first: u64,
    second: u64,
) -> Result<Result<Vec<Hash>, N::Error>, OutOfTree> {
    if first > second {
        return Err(OutOfTree::Sizes { first, second });
    }
    if first == 0 || first == second {
        return Ok(Ok(Vec::new()));
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, second);
    let mut push = |from, to| match subtree(nodes, from, to) {
        Ok(hash) => {
            path.push(hash);
            Ok(())
        }
        Err(error) => Err(error),
    };
    while end != first {
        let middle = start + split(end - start);
        let pushed = if first <= middle {
            let pushed = push(middle, end);
            end = middle;
            pushed
        } else {
            let pushed = push(start, middle);
            start = middle;
            pushed
        };
        if let Err(error) = pushed {
            return Ok(Err(error));
        }
    }
    // If the old tree is a complete left subtree, the verifier already knows its root.
    if start > 0
        && let Err(error) = push(start, end)
    {
        return Ok(Err(error));
    }
    path.reverse();
    Ok(Ok(path))
}

/// Why a proof is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The query itself is invalid.
    #[error(transparent)]
    OutOfTree(#[from] OutOfTree),
    /// The number of hashes does not match the sizes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with that root (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(OutOfTree::Leaf { index, size }.into());
    }
    let (mut fnode, mut snode, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if snode == 0 {
            return Err(ProofError::Length);
        }
        if fnode & 1 == 1 || fnode == snode {
            hash = Hash::of_node(sibling, &hash);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            hash = Hash::of_node(&hash, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Checks that the tree of `second` leaves and root `new` begins with that of `first` leaves and root `old` (RFC 9162, 2.1.4.2).
pub fn verify_consistency(
    first: u64,
    second: u64,
    old: &Hash,
    new: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if first > second {
        return Err(OutOfTree::Sizes { first, second }.into());
    }
    if first == second || first == 0 {
        let is_so = (first != 0 || *old == Hash::of(&[])) && (first != second || old == new);
        return match path {
            [] if is_so => Ok(()),
            [] => Err(ProofError::Root),
            _ => Err(ProofError::Length),
        };
    }
    let mut path = path.iter();
    // If the first size is a power of two, the old tree is one subtree, whose root the verifier
    // knows.
    let start = if first.is_power_of_two() {
        old
    } else {
        path.next().ok_or(ProofError::Length)?
    };
    let (mut fnode, mut snode) = (first - 1, second - 1);
    while fnode & 1 == 1 {
        fnode >>= 1;
        snode >>= 1;
    }
    let (mut of_old, mut of_new) = (*start, *start);
    for hash in path {
        if snode == 0 {
            return Err(ProofError::Length);
        }
        if fnode & 1 == 1 || fnode == snode {
            of_old = Hash::of_node(hash, &of_old);
            of_new = Hash::of_node(hash, &of_new);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            of_new = Hash::of_node(&of_new, hash);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode != 0 {
        return Err(ProofError::Length);
    }
    if of_old == *old && of_new == *new {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

#[cfg(test)]
mod tests;
