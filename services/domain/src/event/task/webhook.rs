//! The deliveries of a completion webhook.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use crate::id::TaskId;
use crate::time::Timestamp;

/// The completion webhook was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackSent {
    pub id: TaskId,
    /// Number of the delivery, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// The receiver's HTTP status.
    pub status: u16,
}

/// A delivery of the completion webhook failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallbackFailed {
    pub id: TaskId,
    /// Number of the delivery, from 1.
    pub attempt: u32,
    pub at: Timestamp,
    pub failure: Failure,
    /// When the next delivery is due; absent: no further one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}
