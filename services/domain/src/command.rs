//! Requests of gateways to the owner of a partition, by NATS request and reply.
//!
//! Creation needs no owner. Every change to an open task does: only its owner knows whether an
//! attempt is running, and only its owner may append. Requests and replies are MessagePack with
//! named fields. The gateway has already authenticated the caller and checked that the task belongs
//! to the caller's team.

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::compartment::Compartment;
use crate::event::FailureKind;
use crate::id::{LimitKey, TaskId, TeamId};
use crate::limit::{KeyStanding, LimitAsk, LimitGrant, LimitNudge};
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
    /// Tell how hosts do, by what the tasks of the partition say. Nothing is stored.
    Health {
        /// Hosts of teams.
        hosts: Vec<Compartment>,
    },
    /// Another owner asks the home of limit keys for shares of them. Nothing is stored.
    AskLimits(LimitAsk),
    /// The home of limit keys wants to be asked. Nothing is stored.
    NudgeLimits(LimitNudge),
    /// Tell how the limit keys of a team stand in this partition. Nothing is stored.
    ListLimits {
        team: TeamId,
        /// Only this one; `None`: up to [`MAX_STANDINGS`].
        key: Option<LimitKey>,
    },
    /// Tell why tasks do not run, of those that are known to be open. Nothing is stored, and nothing is
    /// waited for.
    ExplainMany {
        /// At most [`MAX_EXPLAINED`]; further ones are left out.
        tasks: Vec<TaskId>,
        /// Team that the tasks must belong to.
        team: TeamId,
    },
}

/// How many limit keys an owner tells of at a time.
pub const MAX_STANDINGS: usize = 1_000;

/// What keeps an open task from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocker {
    /// Its client delayed it.
    NotDue {
        /// When its time comes.
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
    /// Its host fails, and nothing is started there but a probe now and then.
    TargetOpen {
        /// When the next probe may start; `None`: one is about to, or is made.
        until: Option<Timestamp>,
    },
    /// It waits for the end of the window of its debounce.
    Debounced {
        /// Until when, unless another task comes or the wall clock is set.
        until: Timestamp,
    },
    /// Another task has the key of its singleton, or comes first to it.
    Singleton {
        /// The one that has the key, or else the next to have it.
        task: TaskId,
    },
    /// One of its limit keys is paused.
    LimitPaused {
        /// When the pause ends, if it ends by itself.
        until: Option<Timestamp>,
    },
    /// As many attempts run as one of its limit keys allows.
    LimitConcurrency,
    /// As many attempts were started as one of its limit keys allows.
    LimitRate {
        /// When it may start another one.
        until: Timestamp,
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
            | Self::Debounced { until }
            | Self::LimitRate { until } => Some(until),
            Self::QueuePaused { until }
            | Self::LimitPaused { until }
            | Self::TargetOpen { until } => until,
            Self::OrderHead { .. }
            | Self::QueueConcurrency
            | Self::LimitConcurrency
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
    /// The limit key that blocks it, if one does.
    #[serde(default)]
    pub limit: Option<LimitKey>,
}

/// Whether attempts start at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Every attempt starts.
    Closed,
    /// One at a time starts, to find out how the host does.
    Probing,
    /// No attempt starts, until a pause has passed.
    Open,
}

/// How a host does, as the owner of one partition sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostHealth {
    pub state: HostState,
    /// When the next probe may start, while it is open.
    pub until: Option<Timestamp>,
    /// When the first of its last failures in a row happened; `None` if no failure is remembered.
    pub since: Option<Timestamp>,
    /// Failures since the last attempt that did not fail.
    pub in_a_row: u32,
    /// When the last failure happened.
    pub last: Option<Timestamp>,
    /// Kind of the last failure.
    pub kind: Option<FailureKind>,
    /// The status of the last failure, if there was an answer.
    pub status: Option<u16>,
    /// Ready tasks that are held back.
    pub held: u64,
}

/// How many tasks ahead of another are counted.
pub const MAX_AHEAD: u32 = 10_000;
/// How many tasks one request may ask about.
pub const MAX_EXPLAINED: usize = 100;

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
    /// What keeps those of the tasks from running that are open; `None`: an attempt is running.
    ExplainedMany(Vec<(TaskId, Option<Blocker>)>),
    /// The owner knows no such open task: it has ended, or never existed.
    NotOpen,
    /// The owner cannot say now: it is taking over, giving up, or the log does not answer. Ask again.
    TryAgain,
    /// How the hosts do, in the order of the request.
    Health(Vec<HostHealth>),
    /// What the holder of limit keys may use of them.
    Granted(LimitGrant),
    /// How limit keys stand.
    Limits(Vec<KeyStanding>),
    /// The message was taken.
    Noted,
}
