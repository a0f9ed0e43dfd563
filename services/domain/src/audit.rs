//! The tamper-evident part of the activity log: hashes, signed checkpoints, exports, and what verifying them finds.
//!
//! One notary reads CONTROL in its order and builds Merkle trees ([`merkle`], RFC 6962): one over everything and one for each team
//! ([`tree`]). The leaf of an event ([`leaf`]) is made of its stored bytes, by way of [`fields`], so that a secret can be withheld
//! from a copy without breaking its proof. What the notary has seen it signs ([`checkpoint`], in the shape of a [`note`]).
//! A team's [`export`] carries all that is needed to hold it against a checkpoint kept elsewhere; [`verify`] does that, and does the
//! same for the log itself. The log's total order makes forks impossible for honest writers; a chain written by the producers would fork
//! under concurrency.
//!
//! What this cannot show: an event that was never appended, and a change made before the next checkpoint, about a second later.

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
