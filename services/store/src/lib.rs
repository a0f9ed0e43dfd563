//! Read models on disk: named ordered trees of bytes, whose rows and checkpoints change in one
//! atomic batch.
//!
//! A store is a disposable cache of the log. It contains nothing that the log cannot recreate, so
//! any doubt has the same answer: wipe and rebuild, never repair. The parts:
//!
//! - [`OpenOptions`] opens a store in steps: wait for the lock, read the manifest, recover the
//!   engine, read the rows. If a step finds bad data, the store is wiped, and [`Opened::reason`]
//!   says so.
//! - [`Batch`] has changes that belong together: puts and deletes in several trees, and the
//!   [`Checkpoint`] of each stream that they came from. A reopened store always matches its
//!   checkpoint exactly.
//! - [`Store`] and [`View`] read. The engine's first failure, an error or a panic, poisons the
//!   store: it refuses every further call, because an engine that failed once may return wrong
//!   results the next time without saying so.
//! - [`Engine`] selects the storage engine: sled for small data that is read often, fjall for large
//!   data, memory for tests and simulation. All three pass one conformance suite.
//!
//! Calls are synchronous. `get`, a page of `range` and `apply` take microseconds and may run on an
//! async thread; [`OpenOptions::open`], [`Store::sync`] and [`Store::digest`] block and belong in
//! `spawn_blocking`.

mod batch;
mod checkpoint;
mod engine;
mod error;
mod key_range;
mod lock;
pub mod loss;
mod manifest;
mod open;
mod store;
mod tree;
mod view;

pub use batch::Batch;
pub use checkpoint::{Checkpoint, FINGERPRINT_BYTES};
pub use engine::{Engine, Limits};
pub use error::{OpenError, StoreError};
pub use key_range::KeyRange;
pub use open::{OpenOptions, OpenReason, Opened, Verify, WipeReason};
pub use store::Store;
pub use tree::Tree;
pub use view::{Rows, View};
