//! Owns partitions, runs their dispatchers and calls targets.
//!
//! - [`worker`]: the role: how many partitions this worker should own, and the tasks that own them.
//! - [`lease`]: keeps a lease renewed. [`takeover`]: from a lease to an active dispatcher.
//!   [`partition`]: the loop of one partition.
//! - [`calls`]: the running calls. [`attempt`], [`webhook`]: their requests. `rotations`: which
//!   secrets sign them. [`callout`]: the HTTP client.
//! - [`queues`]: which queues are paused and what limits they have, as every partition must know it.
//!   `follow`: how copies of CONTROL are kept.
//! - [`retention`]: how far the log may be purged, and by which worker.
//! - [`vault`]: the credentials that tasks refer to, inserted at the last moment.
//! - [`watchdog`]: notices a partition that stands still, which is given away then.
//! - [`command`]: requests of clients. [`payloads`]: recent events, so that they need not be read
//!   back.
//!
//! All of it is a shell around `waybill_domain::dispatcher`, which makes the decisions.

pub mod attempt;
pub mod board;
pub mod bulkhead;
pub mod callout;
pub mod calls;
pub mod captured;
pub mod clock;
pub mod command;
mod follow;
pub mod lease;
pub mod partition;
pub mod payloads;
pub mod queues;
pub mod retention;
mod rotations;
pub mod takeover;
#[cfg(test)]
mod testing;
pub mod vault;
pub mod watchdog;
pub mod webhook;
pub mod worker;

pub use clock::{Clock, SystemClock};
pub use retention::RetentionConfig;
pub use worker::{LeftToNewer, Worker, WorkerConfig, WorkerParts};
