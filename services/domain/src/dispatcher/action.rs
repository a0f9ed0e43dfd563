//! What goes into the dispatcher and what comes out of it.

use std::time::Duration;

use crate::actor::Actor;
use crate::command::OwnerReply;
use crate::event::{FailureKind, TaskEvent};
use crate::id::{QueueName, TaskId, TeamId};
use crate::seq::StreamSeq;
use crate::task::Status;
use crate::time::Elapsed;
use sha2::{Digest, Sha256};

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

/// Whose slots a call takes: those of a team, and those of the host that is called. As numbers, so that nothing has to be remembered
/// of hosts that are not called any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Compartment {
    /// Stands for the team.
    pub team: u64,
    /// Stands for the host and the port that are called.
    pub host: u64,
}

impl Compartment {
    /// The number of a team.
    #[must_use]
    pub fn team(team: &TeamId) -> u64 {
        number("team", team.as_str())
    }

    /// The number of a URL's host and port. The URL is valid; another spelling of a host is another number, which only gives it a
    /// share of its own within that of its team.
    #[must_use]
    pub fn host(url: &str) -> u64 {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let authority = &rest[..end];
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        let host = host.to_ascii_lowercase();
        let default = if scheme.eq_ignore_ascii_case("https") {
            ":443"
        } else {
            ":80"
        };
        number("host", host.strip_suffix(default).unwrap_or(&host))
    }
}

/// A number that nobody can make to be another's: hosts are chosen by clients.
fn number(kind: &str, name: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

/// A call that could begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub running: Running,
    /// Whose slot it takes.
    pub compartment: Compartment,
}

/// Whether a call may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It has a slot.
    Yes,
    /// Not to this host for this team; others may.
    HostFull,
    /// Not for this team; others may.
    TeamFull,
    /// Nothing more of this kind.
    Full,
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
    /// Nothing to do, but worth counting: an attempt ended that used up no retry.
    Uncounted(Uncounted),
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

/// Why an attempt used up no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// It was cut short in order.
    Released,
    /// It failed in a way that is not the target's.
    Failed(FailureKind),
}

impl Uncounted {
    /// The label of the metric.
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
