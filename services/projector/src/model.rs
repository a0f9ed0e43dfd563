//! The read model: what is kept of the log, in which trees, and who may write it.
//!
//! [`Projection`] is the only writer. It applies records in the order of their stream, and changes
//! rows, counters and checkpoint in one atomic batch, so the model always reflects one position.
//! [`Reader`] answers queries from consistent views.
//!
//! Everything stored is a function of the two logs between a floor (retention) and a position. It
//! does not depend on the time, on how records were batched, or on restarts. So a rebuilt model
//! equals one that was updated step by step, byte by byte, and a model can be discarded at any
//! time.

mod about;
mod activity;
mod audit;
mod counts;
mod flows;
mod groups;
mod jobs;
mod keys;
mod list;
mod matching;
mod page;
mod placed;
mod projection;
mod quarantine;
mod reader;
mod roster;
mod runs;
mod select;
mod stats;
mod sweep;
mod touched;

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

/// Rows of tasks by creation sequence: what retention purges is at the beginning, unless it was
/// restated.
pub(crate) const TASKS: Tree = Tree::new("tasks");
/// Sequence of a task's latest restatement to that of its creation; kept until retention has purged
/// the restatement.
pub(crate) const RESTATED: Tree = Tree::new("restated");
/// Task id to creation sequence.
pub(crate) const BY_ID: Tree = Tree::new("by_id");
/// Index by team, whether workers pull it, and creation.
pub(crate) const BY_TEAM: Tree = Tree::new("by_team");
/// Index by team, queue, whether workers pull it, and creation.
pub(crate) const BY_QUEUE: Tree = Tree::new("by_queue");
/// Index by team, status, whether workers pull it, and creation; the value of a delayed task is the end of its delay.
pub(crate) const BY_STATUS: Tree = Tree::new("by_status");
/// Index by team, queue and creation, of tasks that are stored as pending.
pub(crate) const PENDING: Tree = Tree::new("pending");
/// Fineness, beginning of a step of time, team and queue to what happened to tasks in it.
pub(crate) const STATS: Tree = Tree::new("stats");
/// The same to the number of attempts that failed in it.
pub(crate) const FAILED_ATTEMPTS: Tree = Tree::new("failed_attempts");
/// Index by team, queue and end of the delay, of tasks that were delayed and have not started.
pub(crate) const DELAYED: Tree = Tree::new("delayed");
/// Index by team, hashed idempotency key and sequence.
pub(crate) const IDEMPOTENCY: Tree = Tree::new("idempotency");
/// Id of an ended task and sequence of a creation to the id of the task that does it again.
pub(crate) const REPLAYS: Tree = Tree::new("replays");
/// Team and queue to the number of tasks in each status.
pub(crate) const COUNTS: Tree = Tree::new("counts");
/// The same of those that workers pull.
pub(crate) const PULLED_COUNTS: Tree = Tree::new("pulled_counts");
/// The same of those that are jobs, by the statuses of jobs.
pub(crate) const JOB_COUNTS: Tree = Tree::new("job_counts");
/// Index by team, stream and sequence to who did what.
pub(crate) const ACTIVITY: Tree = Tree::new("activity");
/// Id of a key, application, person, team or invitation to what is known about it.
pub(crate) const ROSTER: Tree = Tree::new("roster");
/// Audit tree, level and index to the hash of a complete subtree.
pub(crate) const AUDIT_NODES: Tree = Tree::new("audit_nodes");
/// Audit tree and sequence in CONTROL to the index of the leaf.
pub(crate) const AUDIT_LEAVES: Tree = Tree::new("audit_leaves");
/// Stream and sequence of records that do not count.
pub(crate) const QUARANTINE: Tree = Tree::new("quarantine");
/// Index by team, schedule and time of decision: of the tasks that were made, and of instants that did
/// not fire, with what is noted of them.
pub(crate) const RUNS: Tree = Tree::new("runs");
/// Index by team, workflow and place of creation, of its members, to how each stands.
pub(crate) const FLOWS: Tree = Tree::new("flows");
/// Index by team and place of creation to the id of a workflow.
pub(crate) const FLOW_LIST: Tree = Tree::new("flow_list");
/// How far retention was followed, and the latest hour of the log.
pub(crate) const META: Tree = Tree::new("meta");

pub(crate) const TREES: &[Tree] = &[
    TASKS,
    RESTATED,
    BY_ID,
    BY_TEAM,
    BY_QUEUE,
    BY_STATUS,
    DELAYED,
    IDEMPOTENCY,
    REPLAYS,
    COUNTS,
    ACTIVITY,
    ROSTER,
    AUDIT_NODES,
    AUDIT_LEAVES,
    QUARANTINE,
    META,
    PENDING,
    STATS,
    FAILED_ATTEMPTS,
    RUNS,
    FLOWS,
    FLOW_LIST,
    JOB_COUNTS,
    PULLED_COUNTS,
];

/// Version of the rows and of how they are derived. Raise it with every change of either.
const SCHEMA: u32 = 12;

/// The store's version also includes the known events: a quarantined event is projected by the
/// first version that knows it, because that version rebuilds.
fn schema() -> u32 {
    let mut hash = Sha256::new().chain_update(SCHEMA.to_be_bytes());
    for name in TaskEvent::NAMES.iter().chain(ControlEvent::NAMES) {
        hash.update(name);
        hash.update([0]);
    }
    let digest = hash.finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The options of a read model's store.
#[must_use]
pub fn options(cache_bytes: u64) -> OpenOptions {
    OpenOptions::new(Engine::Fjall, schema(), TREES).cache_bytes(cache_bytes)
}

/// Opens the store in a folder. Blocks.
pub fn open(dir: &Path, cache_bytes: u64) -> Result<Opened, OpenError> {
    options(cache_bytes).open(dir)
}

/// SHA-256 of each tree, in hex, with its name.
pub fn digests(view: &View<'_>) -> Result<Vec<(&'static str, String)>, StoreError> {
    TREES
        .iter()
        .map(|tree| Ok((tree.name(), hex::encode(view.digest(*tree)?))))
        .collect()
}

/// Why the model cannot continue.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// The store failed: it is opened again, and wiped if necessary.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is unreadable. The store is condemned.
    #[error("a row of {tree} cannot be read: {reason}")]
    Row { tree: &'static str, reason: String },
}

fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    // Serialising plain values to memory cannot fail.
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
