//! Events of queues: what a team decides about the start of their tasks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::team::queues::configure::QueueJobs;
use crate::id::{Environment, QueueName, TeamId};
use crate::rate::StartRate;
use crate::task::QueueDefaults;
use crate::time::Timestamp;

/// No task of a queue is started until the queue is resumed or the pause ends by itself. Of a queue
/// that is paused already, the event states the pause anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueuePaused {
    pub queue: QueueName,
    pub team: TeamId,
    /// Environment of the queue.
    pub environment: Environment,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the pause ends by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who paused it, in the form of the header `Wb-Actor`.
    pub paused_by: String,
    pub at: Timestamp,
    /// Whether somebody waits for the attempts that run to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
}

/// Tasks of a paused queue may start again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueResumed {
    pub queue: QueueName,
    pub team: TeamId,
    /// Environment of the queue.
    pub environment: Environment,
    pub at: Timestamp,
}

/// How fast the tasks of a queue may start was set: all limits of the queue, also those that stay
/// as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueLimited {
    pub queue: QueueName,
    pub team: TeamId,
    /// Environment of the queue.
    pub environment: Environment,
    /// Most attempts at a time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Most starts in a time; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<StartRate>,
    /// How many tasks of the queue start in a turn among the team's queues; absent: one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u8>,
    pub at: Timestamp,
    /// Seconds after its end for which lists and reads show a task of the queue; absent: as long as the
    /// log has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_s: Option<u32>,
}

/// What creations in a queue mean where they leave something open was set: all defaults of the queue,
/// also those that stay as they were. Tasks that exist keep what they were created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDefaultsChanged {
    pub queue: QueueName,
    pub team: TeamId,
    /// Environment of the queue.
    pub environment: Environment,
    pub defaults: QueueDefaults,
    pub at: Timestamp,
    /// What the jobs API keeps of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<QueueJobs>,
}
