//! The log in memory, for simulations and for tests of everything above the log.
//!
//! [`MemoryCore`] is plain synchronous data, for a deterministic simulation on one thread.
//! [`MemoryLog`] puts it behind a mutex and implements the async traits. The conformance suite
//! checks that the in-memory log and JetStream make the same decisions.

mod captures;
mod checkpoints;
mod core;
mod counters;
mod mail;
mod shared;
mod tallies;
mod vault_keys;

pub use captures::MemoryCaptures;
pub use checkpoints::MemoryCheckpoints;
pub use core::{Clock, MemoryCore};
pub use counters::MemoryCounters;
pub use mail::MemoryMail;
pub use shared::MemoryLog;
pub use tallies::MemoryTallies;
pub use vault_keys::MemoryVaultKeys;
