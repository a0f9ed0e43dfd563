//! The end of a block by an ordering key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::time::Timestamp;

/// A failed task does not block those behind it by its ordering key any more: somebody let them go,
/// or another task does it again in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnblocked {
    /// The failed task.
    pub id: TaskId,
    /// The task that does it again, before all that it blocked. Absent: these go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<TaskId>,
    /// The place of that task among those with its ordering key, in the order of creations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<StreamSeq>,
    pub at: Timestamp,
}
