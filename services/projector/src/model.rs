//! The read model: what is kept of the log, in which trees, and who may touch it.
//!
//! [`Projection`] is the only writer. It takes records in the order of their stream and changes rows, counters and checkpoint in one
//! atomic batch, so the model is always that of some position. [`Reader`] answers questions from consistent views.
//! Everything stored is a function of the two logs between a floor (retention) and a position: never of the time, of how records
//! came in batches, or of restarts. So a model made anew equals the one that grew, byte for byte, and may be thrown away at any time.

mod about;
mod activity;
mod audit;
mod counts;
mod keys;
mod list;
mod page;
mod projection;
mod quarantine;
mod reader;
mod roster;
mod sweep;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use waybill_domain::event::{ControlEvent, TaskEvent};

use waybill_store::{Engine, OpenError, OpenOptions, Opened, StoreError, Tree, View};

pub use page::InvalidQuery;
pub use projection::{BATCH_EVENTS, Incarnations, Projection};
pub use reader::{Reader, ReaderError, RowPage};
pub(crate) use sweep::{floor, is_sweeping};

/// Rows of tasks, by the sequence of their creation: what retention drops stands at one end, unless it was restated.
pub(crate) const TASKS: Tree = Tree::new("tasks");
/// Where a task was restated last, to the sequence of its creation: it stays until retention has dropped the restatement.
pub(crate) const RESTATED: Tree = Tree::new("restated");
/// Id of a task to the sequence of its creation.
pub(crate) const BY_ID: Tree = Tree::new("by_id");
/// Team and creation.
pub(crate) const BY_TEAM: Tree = Tree::new("by_team");
/// Team, queue and creation.
pub(crate) const BY_QUEUE: Tree = Tree::new("by_queue");
/// Team, status and creation; the value of a delayed one is when its delay ends.
pub(crate) const BY_STATUS: Tree = Tree::new("by_status");
/// Team, queue and end of the delay, of tasks that were delayed and have not started.
pub(crate) const DELAYED: Tree = Tree::new("delayed");
/// Team, hashed idempotency key and sequence.
pub(crate) const IDEMPOTENCY: Tree = Tree::new("idempotency");
/// Team and queue to the number of tasks in each status.
pub(crate) const COUNTS: Tree = Tree::new("counts");
/// Team, stream and sequence to who did what.
pub(crate) const ACTIVITY: Tree = Tree::new("activity");
/// Id of a key, application, person, team or invitation to what is known of it.
pub(crate) const ROSTER: Tree = Tree::new("roster");
/// Audit tree, level and index to the hash of a complete subtree.
pub(crate) const AUDIT_NODES: Tree = Tree::new("audit_nodes");
/// Audit tree and sequence in CONTROL to the index of the leaf.
pub(crate) const AUDIT_LEAVES: Tree = Tree::new("audit_leaves");
/// Stream and sequence of records that do not count here.
pub(crate) const QUARANTINE: Tree = Tree::new("quarantine");
/// How far retention has been followed.
pub(crate) const META: Tree = Tree::new("meta");

/// All of them.
pub(crate) const TREES: &[Tree] = &[
    TASKS,
    RESTATED,
    BY_ID,
    BY_TEAM,
    BY_QUEUE,
    BY_STATUS,
    DELAYED,
    IDEMPOTENCY,
    COUNTS,
    ACTIVITY,
    ROSTER,
    AUDIT_NODES,
    AUDIT_LEAVES,
    QUARANTINE,
    META,
];

/// Version of the rows and of what is projected into them. Raise it with every change of either.
const SCHEMA: u32 = 4;

/// The version of the store also follows the events that are known: one that was put into quarantine is projected by the first
/// version that knows it, since that one rebuilds.
fn schema() -> u32 {
    let mut hash = Sha256::new().chain_update(SCHEMA.to_be_bytes());
    for name in TaskEvent::NAMES.iter().chain(ControlEvent::NAMES) {
        hash.update(name);
        hash.update([0]);
    }
    let digest = hash.finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// How the store of a read model is opened.
#[must_use]
pub fn options(cache_bytes: u64) -> OpenOptions {
    OpenOptions::new(Engine::Fjall, schema(), TREES).cache_bytes(cache_bytes)
}

/// Opens the store in a folder. Blocks.
pub fn open(dir: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    options(cache_bytes).open(dir)
}

/// SHA-256 of each tree, in hex, by its name.
pub fn digests(view: &View<'_>) -> Result<Vec<(&'static str, String)>, StoreError> {
    TREES
        .iter()
        .map(|tree| Ok((tree.name(), hex::encode(view.digest(*tree)?))))
        .collect()
}

/// Why the model cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The store failed, or holds what it cannot: it is opened again, and wiped if need be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row cannot be read. The store is condemned.
    #[error("a row of {tree} cannot be read: {reason}")]
    Row {
        /// Where.
        tree: &'static str,
        /// What is wrong.
        reason: String,
    },
}

fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    // Writing plain values to memory has no way to fail.
    rmp_serde::to_vec(row).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(tree: Tree, bytes: &[u8]) -> Result<T, ModelError> {
    rmp_serde::from_slice(bytes).map_err(|e| row_error(tree, e))
}

fn row_error(tree: Tree, reason: impl std::fmt::Display) -> ModelError {
    ModelError::Row {
        tree: tree.name(),
        reason: reason.to_string(),
    }
}
