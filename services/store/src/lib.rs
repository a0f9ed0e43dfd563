//! Read models on disk: named ordered trees of bytes whose rows and checkpoint change in one atomic batch.
//!
//! A store is a disposable cache of the log. Nothing lives here that the log cannot recreate, so every doubt has one
//! answer: wipe and rebuild, never repair. The parts:
//!
//! - [`OpenOptions`] is the ladder a store is opened by: wait for the lock, read the manifest, recover the engine, read
//!   the rows; whatever fails on the way is wiped, and [`Opened::reason`] says so.
//! - [`Batch`] is what changes together: puts and deletes over several trees, and the [`Checkpoint`] of each stream they
//!   came from. A reopened store is always exactly as old as its checkpoint.
//! - [`Store`] and [`View`] read. The first fault of the engine, an error or a panic, poisons the store: it answers
//!   nothing more, because an engine that failed once may be wrong the next time without saying so.
//! - [`Engine`] chooses what lies beneath: sled for what is small and read often, fjall for what is large, memory for
//!   tests and simulation. All three pass one conformance suite.
//!
//! Calls are synchronous. `get`, a page of `range` and `apply` take microseconds and may run on an async thread;
//! [`OpenOptions::open`], [`Store::sync`] and [`Store::digest`] block and belong in `spawn_blocking`.

mod batch;
mod checkpoint;
mod engine;
mod error;
mod key_range;
mod lock;
mod manifest;
mod open;
mod store;
mod tree;
mod view;

pub use batch::Batch;
pub use checkpoint::Checkpoint;
pub use engine::{Engine, Limits};
pub use error::{OpenError, StoreError};
pub use key_range::KeyRange;
pub use open::{OpenOptions, OpenReason, Opened, Verify, WipeReason};
pub use store::Store;
pub use tree::Tree;
pub use view::{Rows, View};
