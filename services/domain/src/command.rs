//! What gateways ask of the owner of a partition, by NATS request and reply.
//!
//! Creation needs no owner. Everything that changes an open task does: only its owner knows whether an attempt is running, and
//! only its owner may append. Requests and replies are MessagePack with named fields. Who asks is known to be entitled: the
//! gateway has authenticated the key and checked that the task is the team's.

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::id::{TaskId, TeamId};
use crate::partition::Partition;
use crate::seq::StreamSeq;

/// Subject on which the owner of a partition takes requests. Nobody listens while the partition has no owner.
#[must_use]
pub fn subject(partition: Partition) -> String {
    format!("wb.cmd.{partition}")
}

/// A request to an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerRequest {
    /// Cancel a task that no attempt of is running.
    Cancel {
        /// Which.
        task: TaskId,
        /// Whose it must be.
        team: TeamId,
        /// Who asks.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
}

/// What an owner answers, once it is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerReply {
    /// Done, and stored at that sequence of TASKS.
    Done {
        /// Where.
        seq: StreamSeq,
    },
    /// An attempt is being made.
    Running,
    /// The owner knows no such open task: it has ended, or never was.
    NotOpen,
    /// The owner cannot say now: it is taking over, giving up, or the log is away. Ask again.
    TryAgain,
}
