//! Events of operations: work on many tasks at once.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{Environment, OperationId, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::Priority;
use crate::time::Timestamp;

/// What an operation does to each of its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BulkAction {
    /// Tries dead letters again, each once.
    Retry,
    /// Does ended tasks again.
    Replay,
    /// Cancels open tasks.
    Cancel,
    /// Does again what another operation has cancelled, or gives back the priorities that it has
    /// changed.
    Undo,
    /// Cancels tasks that wait, and removes dead letters from the list of them.
    Purge,
    /// Gives tasks that wait another priority.
    #[serde(rename = "changePriority")]
    ChangePriority,
}

/// An operation began: the one record that says which tasks it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationCreated {
    pub operation: OperationId,
    pub team: TeamId,
    /// Environment of the tasks.
    pub environment: Environment,
    pub action: BulkAction,
    /// Conditions, by the names that parameters of `GET /v1/tasks` have, each with its values. All
    /// must hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Vec<String>>,
    /// The tasks themselves, instead of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskId>,
    /// The operation that is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<OperationId>,
    /// Most tasks a second.
    pub rate: u32,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many tasks matched when it was created.
    pub matched: u64,
    /// The end of TASKS when it was created. Tasks that were accepted later are left alone.
    pub up_to: StreamSeq,
    /// Who created it, in the form of the header `Wb-Actor`.
    pub created_by: String,
    pub at: Timestamp,
    /// The priority that the tasks get; of an undo, the one that is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// No further task is taken until the operation is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationPaused {
    pub operation: OperationId,
    pub team: TeamId,
    pub environment: Environment,
    /// Who paused it, in the form of the header `Wb-Actor`.
    pub paused_by: String,
    pub at: Timestamp,
}

/// A paused operation goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationResumed {
    pub operation: OperationId,
    pub team: TeamId,
    pub environment: Environment,
    pub at: Timestamp,
}

/// No further task is taken. What was done stays done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationCancelled {
    pub operation: OperationId,
    pub team: TeamId,
    pub environment: Environment,
    /// Who cancelled it, in the form of the header `Wb-Actor`.
    pub cancelled_by: String,
    pub at: Timestamp,
}

/// A checkpoint: everything before `cursor` was taken. Whoever continues the operation begins
/// there. It counts from the beginning, so the last one tells all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationProgressed {
    pub operation: OperationId,
    pub team: TeamId,
    pub environment: Environment,
    /// Where the rest begins; absent: at the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Tasks to which it was done.
    pub done: u64,
    /// Tasks to which it could not be done.
    pub refused: u64,
    /// The first of these, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<ItemRefused>,
    pub at: Timestamp,
}

/// Every task was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationEnded {
    pub operation: OperationId,
    pub team: TeamId,
    pub environment: Environment,
    /// Tasks to which it was done.
    pub done: u64,
    /// Tasks to which it could not be done.
    pub refused: u64,
    /// The first of these, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<ItemRefused>,
    pub at: Timestamp,
}

/// A task to which an operation could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemRefused {
    pub task: TaskId,
    /// A stable word, as in the body of an error.
    pub code: String,
    /// A sentence for people.
    pub error: String,
}
