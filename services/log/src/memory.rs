//! The log in memory: what the simulation and the tests of everything above the log run on.
//!
//! [`MemoryCore`] is plain synchronous data, for a single-threaded deterministic simulation. [`MemoryLog`] puts it behind a
//! mutex and implements the async traits. Both decide exactly as JetStream does; one conformance suite holds them to it.

mod checkpoints;
mod core;
mod counters;
mod mail;
mod shared;
mod tallies;
mod vault_keys;

pub use checkpoints::MemoryCheckpoints;
pub use core::{Clock, MemoryCore};
pub use counters::MemoryCounters;
pub use mail::MemoryMail;
pub use shared::MemoryLog;
pub use tallies::MemoryTallies;
pub use vault_keys::MemoryVaultKeys;
