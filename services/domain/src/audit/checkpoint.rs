//! Checkpoints: signed statements of what the notary has seen of a tree (C2SP `tlog-checkpoint`,
//! with extension lines after the three standard ones).
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

/// Contents of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub deployment: String,
    pub tree: TreeId,
    /// Number of leaves.
    pub size: u64,
    /// Root hash of the tree.
    pub root: Hash,
    /// Sequence of the last leaf in CONTROL; 0 if there is none.
    pub last_seq: StreamSeq,
    /// When the server stored the last leaf, in nanoseconds since the epoch; 0 if there is none.
    pub last_time_ns: i64,
    /// Creation time of CONTROL in nanoseconds since the epoch, which identifies the stream.
    pub stream: i64,
    /// When the checkpoint was signed, in nanoseconds since the epoch.
    pub signed_ns: i64,
    /// Hash of the previous checkpoint.
    pub previous: Option<Hash>,
}

/// Why a note is not a valid checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note is malformed or its signature is not valid.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The signed text is not that of a checkpoint.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
    /// The key that signed the checkpoint was not valid at the stated time.
    #[error("signed at {at} by a key that was not valid then")]
    OutOfRange {
        /// The stated time of signing.
        at: Timestamp,
    },
}

/// A checkpoint and its signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub checkpoint: Checkpoint,
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

    /// Parses a note, checks that a trusted key signed it while the key was valid, and parses the
    /// checkpoint in it.
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

    /// The hash by which the next checkpoint refers to this one. It covers the signed text only, so
    /// that witnesses may add signatures.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.checkpoint.text().as_bytes())
    }
}

/// Converts nanoseconds since the epoch to milliseconds.
#[must_use]
pub fn millis(ns: i64) -> Timestamp {
    Timestamp(ns.div_euclid(1_000_000))
}

impl Checkpoint {
    /// The text to sign.
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

    /// Parses exactly what [`Checkpoint::text`] writes.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let read = Self::read(text).ok_or(CheckpointError::Malformed("its lines"))?;
        // A checkpoint has exactly one text: no leading zeros, no other base64.
        if read.text() == text {
            Ok(read)
        } else {
            Err(CheckpointError::Malformed("its form"))
        }
    }

    /// Parses the checkpoint in a note without checking the signature: for code that passes the
    /// note on, and leaves the check to whoever relies on it.
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

/// A checkpoint as it is stored in AUDITCP: the note, and the leaves added since the previous
/// checkpoint.
///
/// The leaves are not signed themselves, but they must lead to the signed root. So they are known
/// to be correct, and show which event was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covering {
    /// The signed note.
    pub note: String,
    /// 32 bytes per leaf, in order.
    #[serde(with = "as_bytes")]
    pub leaves: Vec<u8>,
}

/// Limit of leaves per checkpoint, half a MiB; beyond it, an additional checkpoint is signed.
pub const MAX_LEAVES: usize = 16_384;

impl Covering {
    /// Encodes as MessagePack with named fields.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Serialising texts and bytes to memory cannot fail.
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
