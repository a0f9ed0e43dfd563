//! Signatures of events of CONTROL and of the messages of the revocation barrier, and the one rule by which every reader judges them.
//!
//! NATS checks which subject a role publishes to, but not where a reply goes: a role that may use one read API can have the server store
//! bytes of its choice on any subject. So what a record says counts only if somebody signed it who may say it. Signatures, not MACs: who
//! can check a MAC can also make one, and every role reads CONTROL.
//!
//! - [`keys`] are the keys that sign and those whose signatures count, with the part of the log in which they count.
//! - [`event`] is what is signed of an event and how one is judged by itself. [`place`] is the rest of the judgement: a genuine event
//!   that was copied to another place is void, because another record of its boundary lies between it and the one that it names.
//! - [`message`] are messages that are stored nowhere, or in FENCE only: acknowledgements, the question to settle and its answer.
//!
//! From which position on signatures are required is part of [`Trust`]: what is older counts without one. That position is 1, or the one
//! of a signed event `signatures.required`, and readers are configured with it.

pub mod event;
pub mod keys;
pub mod message;
pub mod place;

pub use event::{Genuine, verify};
pub use keys::{Accepted, Keys, Signer, Speaker};
pub use message::Message;
pub use place::{Place, Seen};

use crate::seq::StreamSeq;

/// The header with the signature: `<key id in hex>.<base64 of 64 bytes>`.
pub const SIGNATURE: &str = "Wb-Sig";
/// The filter whose last record the writer expected. Absent from events that are appended without an expectation.
pub const BOUNDARY: &str = "Wb-Boundary";
/// The position of that last record; 0: there was none.
pub const AFTER: &str = "Wb-After";
/// Which record of its append it is, from 0.
pub const INDEX: &str = "Wb-Index";

/// What a process can sign and what it believes.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Creation time of CONTROL in nanoseconds: a signature for one CONTROL says nothing in another.
    pub stream: i64,
    /// The key of this process, if it writes.
    pub signer: Option<Signer>,
    /// Whose signatures count. Without any, nothing is judged.
    pub keys: Keys,
    /// From this position of CONTROL on, signatures are required. `None`: nowhere.
    pub required_from: Option<StreamSeq>,
}

impl Trust {
    /// Whether messages of the barrier must be signed.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        self.required_from.is_some() && !self.keys.is_empty()
    }

    /// Whether the record at that position of CONTROL must be signed.
    #[must_use]
    pub fn requires(&self, seq: StreamSeq) -> bool {
        !self.keys.is_empty() && self.required_from.is_some_and(|from| seq >= from)
    }
}

/// Why a record or a message does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// There is no signature where one is required.
    #[error("it has no signature")]
    Unsigned,
    /// The signature, or what says where the event belongs, is not written as it must be.
    #[error("its header {0} is malformed")]
    Malformed(&'static str),
    /// No configured key has that id, or none that may still sign there.
    #[error("it is signed by key {0}, whose signatures do not count here")]
    UnknownKey(String),
    /// The bytes are not what was signed.
    #[error("its signature by key {0} does not match its content")]
    Forged(String),
    /// The key belongs to workers, who may not say this.
    #[error("it is signed by key {0} of a worker, which may not say this")]
    NotAllowed(String),
    /// It names no boundary, and it is not one of the events that need none.
    #[error("an event of the type {0:?} must name the boundary that it was decided in")]
    Unbounded(String),
    /// Another record of its boundary lies between it and the one that it follows.
    #[error("it was signed to follow position {after} of {boundary}, where another record stands")]
    Moved {
        /// The filter.
        boundary: String,
        /// The position that it names.
        after: StreamSeq,
    },
    /// The same holder has said something later already.
    #[error("it repeats an earlier record of the same holder")]
    Repeated,
}

/// Appends a part with its length before it, so that no two messages share the bytes that are signed.
fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // No part is longer than a message, which is some MiB.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
