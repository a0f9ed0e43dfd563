//! Changes of a task's priority.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{OperationId, TaskId};
use crate::task::Priority;
use crate::time::Timestamp;

/// A task that waits got another priority. Its place among tasks of one priority stays that of its
/// creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriorityChanged {
    pub id: TaskId,
    /// The priority from now on.
    pub priority: Priority,
    /// The one that it had.
    pub from: Priority,
    /// How many attempts had started before.
    pub attempts: u32,
    /// The operation that changed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    pub at: Timestamp,
}
