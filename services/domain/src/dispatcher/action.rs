//! What goes into the dispatcher and what comes out of it.

use std::time::Duration;

use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::TaskEvent;
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::Status;
use crate::time::Elapsed;

/// One kind of call that the shell makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// An attempt: the call to the task's target.
    Attempt,
    /// A delivery of the completion webhook.
    Delivery,
}

/// A call that a shell is making right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Running {
    /// For which task.
    pub task: TaskId,
    /// Which attempt or delivery.
    pub number: u32,
    /// To the target or to the webhook.
    pub kind: CallKind,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Call the target.
    Call(Call),
    /// Deliver the completion webhook.
    Deliver(Delivery),
    /// Answer a request.
    Reply {
        /// Which request, as the shell numbered it.
        ticket: Ticket,
        /// What to answer.
        reply: OwnerReply,
    },
    /// Nothing to do, but worth counting: an attempt failed and another one will follow.
    Retried,
    /// Nothing to do, but worth counting and telling: the completion webhook will not be tried again.
    WebhookGivenUp {
        /// Of which task.
        task: TaskId,
    },
    /// A task reached its end.
    Ended {
        /// Which.
        task: TaskId,
        /// Whose it was.
        team: TeamId,
        /// It brought sealed headers along: nothing opens them again, and their key is to be erased.
        sealed: bool,
        /// Where its request stands: its creation, or the latest restatement.
        created: StreamSeq,
        /// How it ended.
        status: Status,
        /// From the time it was due until now.
        took: Duration,
    },
}

/// An attempt to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which task.
    pub task: TaskId,
    /// Where its request stands: its creation, or the latest restatement.
    pub created: StreamSeq,
    /// Which attempt.
    pub attempt: u32,
    /// How long it may take in all.
    pub limit: Duration,
    /// How long the task had been ready.
    pub waited: Duration,
    /// Trace context of the request that made the task.
    pub traceparent: Option<String>,
}

/// A completion webhook to deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Of which task.
    pub task: TaskId,
    /// Where its request stands: its creation, or the latest restatement.
    pub created: StreamSeq,
    /// Where the event that ended it stands.
    pub ended: StreamSeq,
    /// Which delivery: 1, 2, 3...
    pub number: u32,
    /// Retries the task took.
    pub retries: u32,
    /// Trace context of the request that made the task.
    pub traceparent: Option<String>,
}

/// Number of a request that waits for an answer; the shell gives it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A cancellation, as it reaches the dispatcher.
#[derive(Debug, Clone)]
pub struct Cancel {
    /// Which task.
    pub task: TaskId,
    /// Whose it must be.
    pub team: TeamId,
    /// Who asks.
    pub actor: Actor,
    /// Trace context of the request.
    pub traceparent: Option<String>,
    /// Whom to answer.
    pub ticket: Ticket,
}

/// An event that was decided and is to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The event.
    pub event: TaskEvent,
    /// Whose task it is about.
    pub team: TeamId,
    /// Where that task queues.
    pub queue: QueueName,
    /// Who caused it; `None`: the dispatcher itself.
    pub actor: Option<Actor>,
    /// Trace context of the cause.
    pub traceparent: Option<String>,
    pub(super) ticket: Option<Ticket>,
    /// When, by the clock of this owner.
    pub(super) decided: Elapsed,
}
