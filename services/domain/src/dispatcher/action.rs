//! Inputs and outputs of the dispatcher.

use std::time::Duration;

use crate::actor::Actor;
use crate::command::{OwnerReply, WorkerReport};
use crate::event::{FailureKind, TaskEvent};
use crate::flow::Given;
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::Status;
use crate::time::Elapsed;

pub use crate::compartment::Compartment;
pub(super) use crate::compartment::number;

/// Kinds of calls that the shell makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// An attempt: the call to the task's target.
    Attempt,
    /// A delivery of the completion webhook.
    Delivery,
}

/// A call in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Running {
    pub task: TaskId,
    /// Number of the attempt or delivery.
    pub number: u32,
    /// Whether it calls the target or the webhook.
    pub kind: CallKind,
}

impl Running {
    #[must_use]
    pub fn attempt(task: TaskId, number: u32) -> Self {
        Self {
            task,
            number,
            kind: CallKind::Attempt,
        }
    }
}

/// A call that could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub running: Running,
    /// Whose slots it would use.
    pub compartment: Compartment,
}

/// Whether a call may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// There is a slot for the call.
    Yes,
    /// The team has no slot left for this host; other hosts may.
    HostFull,
    /// The team has no slot left; other teams may.
    TeamFull,
    /// Something other than slots holds this very task back. It leaves the ready queue without being
    /// served, and whoever says so pushes it again when that has changed.
    Blocked,
    /// No slot of this kind is left.
    Full,
}

/// What the shell must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Call the target.
    Call(Call),
    /// Deliver the completion webhook.
    Deliver(Delivery),
    /// Cut off this attempt if it is still running, because its task is being cancelled.
    CutOff(Running),
    /// Answer a request.
    Reply {
        /// The request, as numbered by the shell.
        ticket: Ticket,
        reply: OwnerReply,
    },
    /// Answer a claim with the tasks that it was given; none if it has waited long enough.
    Claimed {
        /// The request, as numbered by the shell.
        ticket: Ticket,
        leases: Vec<LeaseGranted>,
    },
    /// Only for metrics: an attempt failed and another one will follow.
    Retried,
    /// Only for metrics and logs: the completion webhook will not be tried again.
    WebhookGivenUp { task: TaskId },
    /// Only for metrics: an attempt ended without using up a retry.
    Uncounted(Uncounted),
    /// A task ended.
    Ended {
        task: TaskId,
        team: TeamId,
        /// Whether it carried headers that were sealed under a key of its own: that must be erased,
        /// since nothing opens them again. Keys of epochs are swept.
        sealed: bool,
        /// Sequence of its latest request: the creation or a restatement.
        created: StreamSeq,
        status: Status,
        /// Whether the end counts as a success.
        ok: bool,
        /// Time from when the task was due until its end.
        took: Duration,
    },
}

/// Why an attempt used up no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// The attempt was cut short on purpose.
    Released,
    /// The attempt failed for a reason that is not the target's.
    Failed(FailureKind),
}

impl Uncounted {
    /// The value of the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Failed(FailureKind::WorkerLost) => "worker_lost",
            Self::Failed(FailureKind::WorkerFault) => "worker_fault",
            Self::Failed(FailureKind::VaultAway) => "vault_away",
            Self::Failed(_) => "other",
        }
    }
}

/// An attempt to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub task: TaskId,
    /// Sequence of the task's latest request: the creation or a restatement.
    pub created: StreamSeq,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Time limit of the whole attempt.
    pub limit: Duration,
    /// How long the task was ready before.
    pub waited: Duration,
    /// W3C trace context of the request that created the task.
    pub traceparent: Option<String>,
    /// What is filled in in the request.
    pub given: Vec<Given>,
}

/// A delivery of a completion webhook to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub task: TaskId,
    /// Sequence of the task's latest request: the creation or a restatement.
    pub created: StreamSeq,
    /// Sequence of the event that ended the task.
    pub ended: StreamSeq,
    /// Number of the delivery, from 1.
    pub number: u32,
    /// Retries that the task used.
    pub retries: u32,
    /// W3C trace context of the request that created the task.
    pub traceparent: Option<String>,
}

/// Identifies a request that waits for a reply; assigned by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request to cancel a task.
#[derive(Debug, Clone)]
pub struct Cancel {
    pub task: TaskId,
    /// Team that the task must belong to.
    pub team: TeamId,
    /// Who cancels it.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
    /// Whether a task with a running attempt is left alone.
    pub only_waiting: bool,
}

/// A request to remove an ended task from the dead letters.
#[derive(Debug, Clone)]
pub struct PurgeLetter {
    pub task: TaskId,
    /// Team that the task must belong to.
    pub team: TeamId,
    /// Queue of the task.
    pub queue: QueueName,
    /// Who asks for it.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}

/// A request to run a task now that waits for its time or for its retry.
#[derive(Debug, Clone)]
pub struct RunNow {
    pub task: TaskId,
    /// Team that the task must belong to.
    pub team: TeamId,
    /// Who asks for it.
    pub actor: Actor,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}

/// A decided event that must be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub event: TaskEvent,
    /// Team of the task.
    pub team: TeamId,
    /// Queue of the task.
    pub queue: QueueName,
    /// The actor who caused it; `None` for the dispatcher itself.
    pub actor: Option<Actor>,
    /// W3C trace context of the cause.
    pub traceparent: Option<String>,
    pub(super) ticket: Option<Ticket>,
    /// When it was decided, by this owner's monotonic clock.
    pub(super) decided: Elapsed,
    /// It is stored in one append with the one behind it, or neither of them is.
    pub(super) is_joined: bool,
}

impl Decision {
    /// Whether it must be stored in one append with the one behind it.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }
}

/// A worker's claim of tasks.
#[derive(Debug, Clone)]
pub struct Claim {
    pub team: TeamId,
    /// Queues of this partition.
    pub queues: Vec<QueueName>,
    /// How many tasks at most.
    pub max: usize,
    /// How long to wait for the first of them.
    pub wait: Duration,
    /// Length of the leases, in milliseconds.
    pub lease_ms: u32,
    /// Name of the worker.
    pub worker: String,
    /// Number of the claim; the same number is the same claim.
    pub ask: u64,
    /// Whether it was sent before, so that tasks may have been given to it already.
    pub is_repeated: bool,
    /// The credential of the worker.
    pub actor: Actor,
    /// The request to reply to.
    pub ticket: Ticket,
}

/// A task that was given to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseGranted {
    pub task: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Sequence of the task's latest request: the creation or a restatement.
    pub created: StreamSeq,
    /// Sequence of the start, or a later one.
    pub started: StreamSeq,
    /// Length of the lease, in milliseconds.
    pub lease_ms: u32,
}

/// What a worker reports about a task that it has claimed.
#[derive(Debug, Clone)]
pub struct Report {
    pub task: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Team that the task must belong to.
    pub team: TeamId,
    pub what: WorkerReport,
    /// The credential of the worker.
    pub actor: Actor,
    /// The queues in one of which the task must be. Empty: any.
    pub only: Vec<QueueName>,
    /// The worker that must hold the claim, whose earlier reports are not repeated to it.
    pub holder: Option<String>,
    /// The request to reply to.
    pub ticket: Ticket,
}
