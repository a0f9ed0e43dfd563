//! The tamper-evident part of the activity log: hashes, signed checkpoints, exports, and what verifying them finds.
//!
//! One notary reads CONTROL in order and builds Merkle trees ([`merkle`], RFC 6962): one over
//! everything and one per team ([`tree`]). The leaf of an event ([`leaf`]) is computed from its
//! stored bytes, field by field ([`fields`]), so that a secret can be withheld from a copy without
//! breaking its proof. The notary signs what it has seen ([`checkpoint`], in the format of a
//! [`note`]). A team's [`export`] contains all that is needed to check it against a checkpoint kept
//! elsewhere; [`verify`] does that, and does the same for the log itself. Honest writers cannot
//! fork the history, since the log is totally ordered; a hash chain written by the producers would
//! fork under concurrency.
//!
//! What this cannot detect: an event that was never appended, and a change made before the next
//! checkpoint, which follows after about a second.

pub mod checkpoint;
pub mod export;
pub mod fields;
pub mod growing;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, Covering, Signed};
pub use growing::{Growing, Leaf, Mismatch};
pub use leaf::Stored;
pub use merkle::{Frontier, Hash};
pub use note::{NotaryKey, Trusted, TrustedKeys};
pub use tree::TreeId;
