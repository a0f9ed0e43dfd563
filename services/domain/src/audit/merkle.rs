//! Merkle trees as in RFC 6962 (and RFC 9162, 2.1, which words the verification): hashing, growing, and both kinds of proof.
//!
//! A tree only ever grows at its right end, so a [`Frontier`] of at most 64 hashes is enough to append to it and to know its root. Proofs
//! read the hashes of complete subtrees, which never change once they are there: a store keeps them by level and index.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const LEAF: [u8; 1] = [0];
const NODE: [u8; 1] = [1];

/// SHA-256. Its text is lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; Hash::BYTES]);

impl Hash {
    /// Bytes of a hash.
    pub const BYTES: usize = 32;

    /// Of any bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of a leaf: `SHA-256(0x00 || data)`.
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

    /// Of two subtrees: `SHA-256(0x01 || left || right)`.
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let hash = Sha256::new().chain_update(NODE).chain_update(left.0);
        Self(hash.chain_update(right.0).finalize().into())
    }

    /// From exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Reads what `Display` writes: 64 lower-case hex digits. Upper case is refused, so that one hash has one text.
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

/// A complete subtree of `2^level` leaves, the `index`-th of its level from the left. Level 0 are the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Height above the leaves.
    pub level: u8,
    /// From the left, counted from 0.
    pub index: u64,
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the complete subtrees, largest first: one for each bit of the size that is set.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// A frontier that was kept. `None` when there are not as many peaks as a tree of that size has.
    #[must_use]
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let expected = size.count_ones() as usize;
        (peaks.len() == expected).then_some(Self { size, peaks })
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        self.append_with(leaf, |_, _| ());
    }

    /// Adds a leaf, and tells of each subtree that is complete by it, the leaf itself first.
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(Node, Hash)) {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        completed(node, hash);
        // Every trailing one in the binary size is a complete subtree that the new one joins.
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

    /// The root of the tree. That of an empty one is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied();
        joined
            .reduce(|right, left| Hash::of_node(&left, &right))
            .unwrap_or_else(|| Hash::of(&[]))
    }
}

/// Where the hashes of complete subtrees are found.
pub trait Nodes {
    /// Why one could not be read.
    type Error;
    /// The hash of that subtree, which is complete at the size that is asked about.
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
        // Never above 63: a width is a u64.
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

/// A question about a tree that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTree {
    /// No such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Leaf {
        /// The leaf asked for.
        index: u64,
        /// The leaves there are.
        size: u64,
    },
    /// Consistency from a size to a smaller one.
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
    // From the root down; the path is told from the leaf up.
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
    // The verifier knows the old root itself, when that is a whole left part.
    if start > 0
        && let Err(error) = push(start, end)
    {
        return Ok(Err(error));
    }
    path.reverse();
    Ok(Ok(path))
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The question itself.
    #[error(transparent)]
    OutOfTree(#[from] OutOfTree),
    /// Too few or too many hashes for these sizes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// It leads to another root.
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
    // A first size that is a power of two is a subtree of its own, which the verifier knows.
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
