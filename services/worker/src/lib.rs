//! Owns partitions, runs their dispatchers and calls targets.
//!
//! - [`worker`]: the role: how many partitions this worker should own, and the tasks that own them.
//! - [`lease`]: keeps a lease alive. [`takeover`]: from a lease to an active dispatcher. [`partition`]: the loop of one partition.
//! - [`calls`]: the calls being made. [`attempt`], [`webhook`]: what is sent. `rotations`: which secrets sign it. [`callout`]: the HTTP client.
//! - [`retention`]: how far the log is dropped, and by whom.
//! - [`vault`]: the credentials that tasks refer to, put in place at the last moment.
//! - [`command`]: requests of clients. [`payloads`]: recent events, so that they need not be read back.
//!
//! Everything here is a shell around `waybill_domain::dispatcher`: what happens is decided there.

pub mod attempt;
pub mod board;
pub mod bulkhead;
pub mod callout;
pub mod calls;
pub mod clock;
pub mod command;
pub mod lease;
pub mod partition;
pub mod payloads;
pub mod retention;
mod rotations;
pub mod takeover;
pub mod vault;
pub mod webhook;
pub mod worker;

pub use clock::{Clock, SystemClock};
pub use retention::{Pressure, RetentionConfig};
pub use worker::{LeftToNewer, Worker, WorkerConfig, WorkerParts};
