//! Events of listeners: while none of those for a queue or host holds its lease, tasks of the test
//! environment wait there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::health::TargetHost;
use crate::id::{ListenerId, QueueName, TeamId};
use crate::time::Timestamp;

/// Somebody listens to queues or hosts of the test environment. From now on their tasks start only
/// while a lease is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerOpened {
    pub listener: ListenerId,
    pub team: TeamId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<TargetHost>,
    /// End of the lease, unless it is renewed or released.
    pub until: Timestamp,
    /// Who listens, in the form of the header `Wb-Actor`.
    pub opened_by: String,
    pub at: Timestamp,
}

/// A listener holds its lease for longer, or again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerRenewed {
    pub listener: ListenerId,
    pub team: TeamId,
    /// End of the lease, unless it is renewed or released.
    pub until: Timestamp,
    pub at: Timestamp,
}

/// A listener has given its lease back: its tasks wait until somebody listens again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerReleased {
    pub listener: ListenerId,
    pub team: TeamId,
    pub at: Timestamp,
}

/// A listener no longer exists: its tasks do not wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerRemoved {
    pub listener: ListenerId,
    pub team: TeamId,
    /// The listener that took its place; absent: somebody has removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<ListenerId>,
    pub at: Timestamp,
}
