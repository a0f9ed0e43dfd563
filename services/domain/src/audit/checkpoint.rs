//! Checkpoints: what the notary has seen of a tree, signed (C2SP `tlog-checkpoint`, with lines of our own after the three that it names).
//!
//! ```text
//! waybill/default/control                            origin: deployment and tree
//! 12                                                 leaves
//! k6Iv...=                                           root, base64
//! seq 12                                             sequence in CONTROL of the last leaf
//! time 1795245168120456789                           when the server stored that one, ns
//! stream 1795245100000000000                         creation time of CONTROL, ns
//! signed 1795245169000000000                         when it was signed, ns
//! previous Qm9i...=                                  hash of the checkpoint before it, or -
//!
//! — waybill/default 1a2b...
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::merkle::Hash;
use super::note::{self, NotaryKey, NoteError, TrustedKeys};
use super::tree::TreeId;
use crate::seq::StreamSeq;
use crate::time::Timestamp;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the deployment.
    pub deployment: String,
    /// Which tree.
    pub tree: TreeId,
    /// Leaves.
    pub size: u64,
    /// Root of the tree.
    pub root: Hash,
    /// Sequence in CONTROL of the last leaf; 0 when there is none.
    pub last_seq: StreamSeq,
    /// When the server stored it, in nanoseconds since the epoch; 0 when there is none.
    pub last_time_ns: i64,
    /// Creation time of CONTROL, in nanoseconds since the epoch: which stream it is.
    pub stream: i64,
    /// When it was signed, in nanoseconds since the epoch.
    pub signed_ns: i64,
    /// Hash of the checkpoint before it.
    pub previous: Option<Hash>,
}

/// Why a note is no checkpoint that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note itself.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Signed, but not what a checkpoint says.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Signed by a key at a time that is not its own.
    #[error("signed at {at} by a key that was not valid then")]
    OutOfRange {
        /// When it says that it was signed.
        at: Timestamp,
    },
}

/// A checkpoint as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note.
    pub note: String,
}

impl Signed {
    /// Signs a checkpoint.
    #[must_use]
    pub fn new(checkpoint: Checkpoint, key: &NotaryKey) -> Self {
        Self {
            note: key.sign(&checkpoint.text()),
            checkpoint,
        }
    }

    /// Reads a note, checks that a trusted key signed it while it was valid, and reads what it says.
    pub fn open(note: &str, keys: &TrustedKeys) -> Result<Self, CheckpointError> {
        let opened = note::open(note, keys)?;
        let checkpoint = Checkpoint::parse(opened.text)?;
        let at = millis(checkpoint.signed_ns);
        if !opened.by.is_valid_at(at) {
            return Err(CheckpointError::OutOfRange { at });
        }
        Ok(Self {
            checkpoint,
            note: note.to_owned(),
        })
    }

    /// The hash by which the next one names it: of the signed text, so that signatures of witnesses may be added.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.checkpoint.text().as_bytes())
    }
}

/// An instant in milliseconds of one in nanoseconds.
#[must_use]
pub fn millis(ns: i64) -> Timestamp {
    Timestamp(ns.div_euclid(1_000_000))
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let previous = self
            .previous
            .map_or_else(|| "-".to_owned(), |hash| BASE64.encode(hash.0));
        format!(
            "{}\n{}\n{}\nseq {}\ntime {}\nstream {}\nsigned {}\nprevious {previous}\n",
            self.tree.origin(&self.deployment),
            self.size,
            BASE64.encode(self.root.0),
            self.last_seq,
            self.last_time_ns,
            self.stream,
            self.signed_ns,
        )
    }

    /// Reads what [`Checkpoint::text`] writes, and nothing else.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let read = Self::read(text).ok_or(CheckpointError::Malformed("its lines"))?;
        // One checkpoint has one text: no leading zeros, no other base64.
        if read.text() == text {
            Ok(read)
        } else {
            Err(CheckpointError::Malformed("its form"))
        }
    }

    /// What a note says, whoever signed it: for those who pass it on, and leave the check to whoever relies on it.
    pub fn of_note(note: &str) -> Result<Self, CheckpointError> {
        let (text, _) = note::split(note).ok_or(CheckpointError::Malformed("no note"))?;
        Self::parse(text)
    }

    fn read(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (deployment, tree) = TreeId::of_origin(lines.next()?)?;
        let size = lines.next()?.parse().ok()?;
        let root = base64(lines.next()?)?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let checkpoint = Self {
            deployment: deployment.to_owned(),
            tree,
            size,
            root,
            last_seq: StreamSeq(field("seq")?.parse().ok()?),
            last_time_ns: field("time")?.parse().ok()?,
            stream: field("stream")?.parse().ok()?,
            signed_ns: field("signed")?.parse().ok()?,
            previous: match field("previous")? {
                "-" => None,
                hash => Some(base64(hash)?),
            },
        };
        lines.next().is_none().then_some(checkpoint)
    }
}

fn base64(text: &str) -> Option<Hash> {
    Hash::from_slice(&BASE64.decode(text).ok()?)
}

/// A checkpoint as it is stored in AUDITCP: the note, and the leaves that it adds to those of the checkpoint before it.
///
/// The leaves are not signed themselves, but they must lead to the signed root: so they are known to be right, and tell which
/// event it is that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covering {
    /// The signed note.
    pub note: String,
    /// 32 bytes each, in order.
    #[serde(with = "as_bytes")]
    pub leaves: Vec<u8>,
}

/// Leaves of one checkpoint: with more, another one is signed between them. Half a MiB.
pub const MAX_LEAVES: usize = 16_384;

impl Covering {
    /// MessagePack with named fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing texts and bytes to memory has no way to fail.
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// Reads what [`Covering::encode`] writes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read: Self = rmp_serde::from_slice(bytes).ok()?;
        read.leaves
            .len()
            .is_multiple_of(Hash::BYTES)
            .then_some(read)
    }

    /// The leaves.
    pub fn leaves(&self) -> impl Iterator<Item = Hash> + '_ {
        self.leaves.as_chunks().0.iter().map(|bytes| Hash(*bytes))
    }
}

mod as_bytes {
    use serde::de::{Deserializer, Error, Visitor};

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests;
