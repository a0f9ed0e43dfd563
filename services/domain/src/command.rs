//! Requests of gateways to the owner of a partition, by NATS request and reply.
//!
//! Creation needs no owner. Every change to an open task does: only its owner knows whether an
//! attempt is running, and only its owner may append. Requests and replies are MessagePack with
//! named fields. The gateway has already authenticated the caller and checked that the task belongs
//! to the caller's team.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::actor::Actor;
use crate::compartment::Compartment;
use crate::event::{Answer, FailureKind};
use crate::flow::Given;
use crate::id::{LimitKey, OperationId, QueueName, TaskId, TeamId};
use crate::limit::{KeyStanding, LimitAsk, LimitGrant, LimitNudge};
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::task::waits::Waited;
use crate::task::{ChangedPriority, History, Priority};
use crate::time::Timestamp;
use crate::worker::{WorkersRequest, WorkersTold};

/// Subject on which the owner of a partition receives requests. It has no subscriber while the
/// partition has no owner.
#[must_use]
pub fn subject(partition: Partition) -> String {
    format!("wb.cmd.{partition}")
}

/// Encodes and decodes a part of the protocol as MessagePack with named fields. Plain functions, since the compiler makes what generic
/// and asynchronous ones contain anew in each crate that calls them.
macro_rules! coded {
    ($name:ident) => {
        impl $name {
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                // Serialising plain values to memory cannot fail.
                rmp_serde::to_vec_named(self).unwrap_or_default()
            }

            /// # Errors
            /// The bytes are no such value, or one of a later version.
            pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
                rmp_serde::from_slice(bytes).map_err(|error| Malformed(error.to_string()))
            }
        }
    };
}

coded!(OwnerRequest);
coded!(OwnerReply);

/// Bytes that could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(String);

/// Most requests of an [`OwnerRequest::Several`].
pub const MAX_SEVERAL: usize = 100;

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
    /// Tell whether a task that was created a moment ago is a duplicate of another one. The answer is
    /// [`OwnerReply::Noted`] if it is none, and [`OwnerReply::NotOpen`] once it has ended. Nothing is
    /// stored.
    AskKept {
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
        /// The last change of its priority.
        #[serde(default)]
        changed_priority: Option<ChangedPriority>,
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
        /// Whether the reply may be [`OwnerReply::ExplainedWithKeys`]. Earlier gateways do not know it.
        #[serde(default)]
        keys: bool,
    },
    /// Cancel a task unless an attempt of it is running.
    CancelWaiting {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Who cancels it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// Remove an ended task from the dead letters.
    PurgeLetter {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Queue of the task.
        queue: QueueName,
        /// Who removes it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// Let those go that wait behind a failed task by its ordering key.
    Unblock {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// Who asks for it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// Give a task that waits another priority.
    ChangePriority {
        task: TaskId,
        /// Team that the task must belong to.
        team: TeamId,
        /// The priority that it shall have.
        priority: Priority,
        /// The operation that asks for it, if one does.
        operation: Option<OperationId>,
        /// Who asks for it.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
    /// A worker claims tasks of queues of this partition.
    Claim(ClaimRequest),
    /// Nobody waits for a claim any more: it gets nothing, and what it was given goes back. Nothing
    /// is waited for.
    WithdrawClaim {
        team: TeamId,
        queues: Vec<QueueName>,
        /// Number of the claim.
        ask: u64,
    },
    /// A worker reports about a claim.
    Report {
        task: TaskId,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Team that the task must belong to.
        team: TeamId,
        what: WorkerReport,
        /// The credential of the worker.
        actor: Actor,
        /// The queues in one of which the task must be. Empty: any.
        #[serde(default)]
        only: Vec<QueueName>,
        /// The worker that must hold the claim. If it is given, nothing is answered as it was before: a
        /// claim that was settled counts as lost.
        #[serde(default)]
        holder: Option<String>,
    },
    /// Several requests at once, at most [`MAX_SEVERAL`] and none of them of this kind: each is taken or
    /// refused by itself. The answer is [`OwnerReply::Several`], in their order.
    Several(Vec<OwnerRequest>),
    /// About workers that pull. Nothing is stored.
    Workers(WorkersRequest),
    /// Cancel all of these that have not ended, in one decision: members of a workflow. Running
    /// attempts are cut off.
    CancelTogether {
        /// At most as many as a workflow has; all of this partition.
        tasks: Vec<TaskId>,
        /// Team that the tasks must belong to.
        team: TeamId,
        /// Who cancels them.
        actor: Actor,
        /// W3C trace context of the request.
        traceparent: Option<String>,
    },
}

/// A worker claims tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRequest {
    pub team: TeamId,
    /// Queues of this partition; at most [`MAX_CLAIMED_QUEUES`](crate::task::pull::MAX_CLAIMED_QUEUES).
    pub queues: Vec<QueueName>,
    /// How many tasks at most.
    pub max: u32,
    /// How long to wait for the first of them, in milliseconds.
    pub wait_ms: u32,
    pub lease_ms: u32,
    /// Name of the worker.
    pub worker: String,
    /// Number of the claim, drawn by the gateway. The same number is the same claim.
    pub ask: u64,
    /// Whether the claim was sent before, so that tasks may have been given to it already.
    pub is_repeated: bool,
    /// The credential of the worker.
    pub actor: Actor,
}

/// What a worker reports about a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerReport {
    /// The task is done.
    Complete { result: Answer },
    /// The task failed.
    Fail {
        /// Why, in the worker's words.
        message: String,
        /// Whether it may be tried again, as long as retries are left.
        retry: bool,
    },
    /// The worker gives it back, which uses up no retry.
    Release,
    /// The worker is alive, and perhaps says how far it has come.
    Progress {
        /// Length of the lease from now on, in milliseconds; `None`: as before.
        lease_ms: Option<u32>,
        percent: Option<u8>,
        message: Option<String>,
    },
}

/// A task that was given to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedTask {
    pub task: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Position in TASKS of the record that has its request.
    pub stored: StreamSeq,
    /// Position in TASKS of the start, or a later one.
    pub started: StreamSeq,
    /// Length of the lease, from when it was given.
    pub lease_ms: u32,
    /// Its creation as stored, if the owner has it at hand and there is room for it in the reply.
    pub creation: Option<Encoded>,
    /// What is filled in in its request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

/// An encoded event within a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded(pub Vec<u8>);

// By hand: serde would write bytes one by one, as numbers.
impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(ReadBytes)
    }
}

struct ReadBytes;

impl Visitor<'_> for ReadBytes {
    type Value = Encoded;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
        Ok(Encoded(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Encoded, E> {
        Ok(Encoded(bytes))
    }
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
    /// No worker has claimed it.
    Unclaimed,
    /// A task before it by their ordering key has failed, and blocks the others.
    OrderBlocked {
        /// The failed one.
        task: TaskId,
    },
    /// It runs after other members of its workflow, which have not ended.
    Predecessors {
        /// The first of them.
        task: TaskId,
        /// How many they are.
        left: u32,
    },
    /// Nobody listens to its queue or host, as somebody has to in the test environment.
    WaitingForListener,
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
            | Self::OrderBlocked { .. }
            | Self::Predecessors { .. }
            | Self::QueueConcurrency
            | Self::LimitConcurrency
            | Self::TeamFull
            | Self::HostFull
            | Self::NoSlot
            | Self::WorkerPauses
            | Self::Turn
            | Self::BeingStored
            | Self::Unclaimed
            | Self::WaitingForListener
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
    /// What has kept it from running since it became ready, without an end: the last part goes on.
    /// Empty while it is not ready.
    #[serde(default)]
    pub waits: Vec<Waited>,
    /// The owner knows since then what kept it from running; `None`: from the beginning.
    #[serde(default)]
    pub known_since: Option<Timestamp>,
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
    /// Whether it has failed for so long that it is not probed any more.
    #[serde(default)]
    pub disabled: bool,
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
    /// An attempt is running, so the task cannot be run now, nor get another priority, nor be
    /// cancelled if only a waiting one is to be; or it has not ended, and is no dead letter. To
    /// another cancellation, only older owners reply this; the current version cuts the attempt off.
    Running,
    /// Nothing is left to do: the cancellation was requested before, during an attempt that is still
    /// being cut off; or the task is ready already, or has that priority.
    AlreadyRequested {
        /// A sequence in TASKS at or after the stored request.
        seq: StreamSeq,
    },
    /// Why the task does not run.
    Explained(Explained),
    /// What keeps those of the tasks from running that are open; `None`: an attempt is running.
    ExplainedMany(Vec<(TaskId, Option<Blocker>)>),
    /// The owner knows no such open task: it has ended, or never existed; or it blocks no others.
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
    /// The tasks that a claim was given; none if it has waited long enough.
    Claimed(Vec<ClaimedTask>),
    /// The report is stored, or was before.
    Reported {
        /// Position in TASKS of its event, or a later one.
        seq: StreamSeq,
        /// Whether the task may be attempted again.
        retries: bool,
    },
    /// The lease begins anew.
    Extended {
        /// Position in TASKS of the event.
        seq: StreamSeq,
        /// Its length, in milliseconds.
        lease_ms: u32,
        /// Name of the worker that holds it.
        #[serde(default)]
        worker: Option<String>,
    },
    /// The worker does not hold the claim: its lease was over, it ended otherwise, or the task was
    /// cancelled. Nothing has changed.
    LeaseLost,
    /// As [`OwnerReply::ExplainedMany`], with the limit keys that block tasks.
    ExplainedWithKeys(Vec<(TaskId, Option<Blocker>, Option<LimitKey>)>),
    /// How workers stand.
    Workers(WorkersTold),
    /// The answers to several requests.
    Several(Vec<OwnerReply>),
}
