//! Hosts that have failed for very long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TaskId;
use crate::time::Timestamp;

/// The host that the task was to call has failed for as long as its rule says, so that nothing is
/// started there any more, not even to find out, until somebody closes it. The event follows from those
/// of the attempts and from the rule: it tells of it, and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TargetDisabled {
    /// The task whose attempt was the last one.
    pub id: TaskId,
    /// When the first of the failures in a row happened.
    pub since: Timestamp,
    pub at: Timestamp,
}
