//! A dead letter that nobody wants to see any more.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::time::Timestamp;

/// A task that failed for good was removed from the dead letters. It stays as it ended, and can be
/// read and replayed as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskPurged {
    pub id: TaskId,
    pub at: Timestamp,
}
