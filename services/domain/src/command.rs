//! Requests of gateways to the owner of a partition, by NATS request and reply.
//!
//! Creation needs no owner. Every change to an open task does: only its owner knows whether an
//! attempt is running, and only its owner may append. Requests and replies are MessagePack with
//! named fields. The gateway has already authenticated the caller and checked that the task belongs
//! to the caller's team.

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::id::{TaskId, TeamId};
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::task::History;
use crate::time::Timestamp;

/// Subject on which the owner of a partition receives requests. It has no subscriber while the
/// partition has no owner.
#[must_use]
pub fn subject(partition: Partition) -> String {
    format!("wb.cmd.{partition}")
}

/// A request to an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerRequest {
    /// Cancel a task. A running attempt is cut off.
    Cancel {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Who cancels it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// Tell why a task does not run. Nothing is stored.
    Explain {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
    },
    /// Make a task ready that waits for its time or for its retry.
    RunNow {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Who asks for it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// Send the completion webhook of an ended task again.
    Redeliver {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Sequence of its creation in TASKS, by which lists are ordered.
        position: StreamSeq,
        /// Sequence of its latest request: the creation or a restatement.
        stored: StreamSeq,
        /// Sequence of the event that ended it.
        ended: StreamSeq,
        /// Attempts made so far.
        attempts: u32,
        /// Attempts that used up a retry.
        failures: u16,
        /// When its cancellation was requested during an attempt; `None` if it was not.
        cancel_requested: Option<Timestamp>,
        /// The part of its past that clients are shown.
        history: Box<History>,
        /// Who asks for the redelivery.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
}

/// What keeps an open task from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocker {
    /// Its client delayed it.
    NotDue {
        /// Until when.
        until: Timestamp,
    },
    /// It pauses before its next attempt.
    RetryPause {
        /// Until when, unless the wall clock is set.
        until: Timestamp,
    },
    /// Another task comes first by their ordering key.
    OrderHead {
        /// The first of them that has not ended.
        task: TaskId,
    },
    /// Its queue is paused.
    QueuePaused {
        /// When the pause ends, if it ends by itself.
        until: Option<Timestamp>,
    },
    /// Its queue has as many attempts running as it may have at a time.
    QueueConcurrency,
    /// Its queue has started as many attempts as it may.
    QueueRate {
        /// When it may start another one.
        until: Timestamp,
    },
    /// Its team has no slot left on this worker.
    TeamFull,
    /// Its host has no slot left on this worker.
    HostFull,
    /// The worker has no slot left.
    NoSlot,
    /// The worker pauses, because it could not make its last calls.
    WorkerPauses,
    /// It is the turn of others, or it starts at any moment.
    Turn,
    /// What was decided about it is being stored.
    BeingStored,
    /// It waits for the end of the window of its debounce.
    Debounced {
        /// Until when, unless another task comes or the wall clock is set.
        until: Timestamp,
    },
    /// Another task has the key of its singleton, or comes first to it.
    Singleton {
        /// That task.
        task: TaskId,
    },
}

impl Blocker {
    /// When it is over, if that is known.
    #[must_use]
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::NotDue { until }
            | Self::RetryPause { until }
            | Self::QueueRate { until }
            | Self::Debounced { until } => Some(until),
            Self::QueuePaused { until } => until,
            Self::OrderHead { .. }
            | Self::QueueConcurrency
            | Self::TeamFull
            | Self::HostFull
            | Self::NoSlot
            | Self::WorkerPauses
            | Self::Turn
            | Self::BeingStored
            | Self::Singleton { .. } => None,
        }
    }
}

/// Why an open task does not run, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `None`: an attempt is running.
    pub blocker: Option<Blocker>,
    /// Tasks that come before it: by its ordering key, or else in its queue and by its fairness key.
    /// Counted up to [`MAX_AHEAD`].
    pub ahead: Option<u32>,
    /// It does not start before this time. `None`: as soon as nothing blocks it.
    pub not_before: Option<Timestamp>,
}

/// How many tasks ahead of another are counted.
pub const MAX_AHEAD: u32 = 10_000;

/// Reply of an owner, sent once the outcome is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerReply {
    /// The request was carried out and its event stored.
    Done {
        /// Sequence of the event in TASKS.
        seq: StreamSeq,
    },
    /// An attempt is running, so the task cannot be run now. To a cancellation, only older owners
    /// reply this; the current version cuts the attempt off.
    Running,
    /// Nothing is left to do: the cancellation was requested before, during an attempt that is still
    /// being cut off; or the task is ready already.
    AlreadyRequested {
        /// A sequence in TASKS at or after the stored request.
        seq: StreamSeq,
    },
    /// Why the task does not run.
    Explained(Explained),
    /// The owner knows no such open task: it has ended, or never existed.
    NotOpen,
    /// The owner cannot say now: it is taking over, giving up, or the log does not answer. Ask again.
    TryAgain,
}
