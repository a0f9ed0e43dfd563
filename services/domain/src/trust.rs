//! Signatures of CONTROL's events and of the barrier's messages, and the rule by which every reader
//! judges them.
//!
//! NATS checks which subjects a role may publish to, but not where a reply goes: a role that may
//! call one read API can make the server store bytes of its choice on any subject. So a record
//! counts only if it is signed by a key that is allowed to say it. Signatures are used instead of
//! MACs, because whoever can check a MAC can also forge one, and every role reads CONTROL.
//!
//! - [`keys`]: the keys that sign, and those whose signatures count, with the part of the log that
//!   they count in.
//! - [`event`]: what is signed of an event, and how an event is judged by itself. [`place`]
//!   completes the judgement: a genuine event that was copied to another position is void, because
//!   another record of its boundary lies between it and the position that it names.
//! - [`message`]: messages that are not stored, or only in FENCE: acknowledgements, barrier
//!   requests and their replies.
//!
//! [`Trust`] includes the position from which signatures are required; older records count without
//! one. That position is 1, or that of a signed event `signatures.required`, and readers are
//! configured with it.

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
/// The filter whose last record the writer expected. Missing from events that are appended without
/// an expectation.
pub const BOUNDARY: &str = "Wb-Boundary";
/// The position of that last record; 0 if there was none.
pub const AFTER: &str = "Wb-After";
/// Index of the record within its append, from 0.
pub const INDEX: &str = "Wb-Index";

/// The keys of a process, and the rule that it applies.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Creation time of CONTROL in nanoseconds, so that a signature for one CONTROL is void in
    /// another.
    pub stream: i64,
    /// The signing key of this process, if it writes.
    pub signer: Option<Signer>,
    /// The keys whose signatures count. Without keys, nothing is judged.
    pub keys: Keys,
    /// Position of CONTROL from which signatures are required; `None` if they never are.
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

/// Why a record or message does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// A required signature is missing.
    #[error("it has no signature")]
    Unsigned,
    /// The signature, or a header that states the event's place, is malformed.
    #[error("its header {0} is malformed")]
    Malformed(&'static str),
    /// No configured key with that id may sign at this position.
    #[error("it is signed by key {0}, whose signatures do not count here")]
    UnknownKey(String),
    /// The signature does not match the content.
    #[error("its signature by key {0} does not match its content")]
    Forged(String),
    /// The key belongs to workers, which may not say this.
    #[error("it is signed by key {0} of a worker, which may not say this")]
    NotAllowed(String),
    /// The event names no boundary, although events of its type must.
    #[error("an event of the type {0:?} must name the boundary that it was decided in")]
    Unbounded(String),
    /// Another record of its boundary lies between the event and the one that it should follow.
    #[error("it was signed to follow position {after} of {boundary}, where another record stands")]
    Moved {
        /// The subject filter of the boundary.
        boundary: String,
        /// The position that the event should follow.
        after: StreamSeq,
    },
    /// The same holder has already said something later.
    #[error("it repeats an earlier record of the same holder")]
    Repeated,
}

/// Appends a part, preceded by its length, so that no two messages have the same signed bytes.
fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    // Parts are no longer than a message, which is a few MiB.
    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(part);
}

#[cfg(test)]
mod tests;
