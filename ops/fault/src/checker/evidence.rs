//! The result of a run, reduced to the facts that the checks need.

use serde::Serialize;
use waybill_domain::event::{FailureKind, TaskCreated, TaskEvent};
use waybill_domain::task::OnFailure;

/// Everything that was collected in a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Evidence {
    /// The events of TASKS, by position.
    pub(crate) log: Vec<Entry>,
    /// What clients were told, in no particular order.
    pub(crate) told: Vec<Told>,
    /// What the target received, in the order received.
    pub(crate) calls: Vec<Call>,
    /// All tasks, as the API listed them at the end.
    pub(crate) listed: Vec<Listed>,
    /// A sample of tasks, as the API showed them one by one at the end.
    pub(crate) read: Vec<Listed>,
    /// What each subscriber read.
    pub(crate) streamed: Vec<Streamed>,
    /// What the processes printed.
    pub(crate) outputs: Vec<Output>,
    /// Which parts of the log were written while roles were restarted in order.
    pub(crate) planned: Vec<Window>,
    /// The limits of queues, which hold from before the first task to the end.
    pub(crate) limited: Vec<Limited>,
    /// While queues were paused for sure.
    pub(crate) pauses: Vec<Pause>,
    /// Tasks with one ordering key, in the order in which a client that waits for each answer was told 201.
    pub(crate) lines: Vec<Vec<String>>,
    /// While the clock of a process was wrong.
    pub(crate) wrong_clocks: Vec<Span>,
    /// The end of TASKS before the last crowd, which came when every task had ended.
    pub(crate) before_crowd: u64,
}

impl Evidence {
    /// Whether the clock of a process was wrong at some time from `from_ms` to `to_ms`.
    pub(crate) fn is_clock_wrong(&self, from_ms: i64, to_ms: i64) -> bool {
        let overlaps = |span: &Span| span.from_ms <= to_ms && from_ms <= span.to_ms;
        self.wrong_clocks.iter().any(overlaps)
    }
}

/// A stretch of time by the machine's clock, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// The limits of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Limited {
    pub(crate) queue: String,
    /// Most attempts at a time.
    pub(crate) concurrency: Option<u32>,
    pub(crate) rate: Option<Rate>,
}

/// At most `burst` + `limit` * w / `per_ms` starts in w milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Rate {
    pub(crate) limit: u32,
    pub(crate) per_ms: u32,
    pub(crate) burst: u32,
}

/// A queue was paused from the answer to the pause, at the latest, until its resumption was asked for, at the earliest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    pub(crate) queue: String,
    pub(crate) span: Span,
    /// The pause had a date at which it ends by itself.
    pub(crate) has_end: bool,
}

/// A part of TASKS: the positions after `after`, up to and including `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    pub(crate) after: u64,
    pub(crate) until: u64,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    /// When it was stored, by the server's clock, in milliseconds.
    pub(crate) stored_ms: i64,
    /// When it happened, by the clock of the process that appended it, in milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) task: String,
    pub(crate) step: Step,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Step {
    Created(Box<Request>),
    Started(u32),
    AttemptFailed {
        attempt: u32,
        /// With its worker, or because that could not make the call: the target need not have seen it.
        lost: bool,
    },
    Succeeded {
        attempt: u32,
        status: u16,
    },
    Dead {
        attempt: u32,
        /// `failed`, or `timeout` when the last attempt ran into its limit.
        status: &'static str,
        /// Up to which creation it cancels those behind it.
        cancels_to: Option<u64>,
    },
    Expired {
        attempt: Option<u32>,
        cancels_to: Option<u64>,
    },
    Released(u32),
    /// Made ready before its time or its retry was due.
    RunRequested,
    /// Requested while that attempt was running.
    CancelRequested(u32),
    Cancelled {
        attempt: Option<u32>,
        /// The failed task before it in the order of their key.
        after: Option<String>,
    },
    CallbackSent,
    CallbackFailed {
        given_up: bool,
    },
    /// Restated by its owner, which changes nothing about the task.
    Restated,
}

impl Step {
    pub(crate) fn of(event: &TaskEvent) -> Self {
        match event {
            TaskEvent::Created(e) => Self::Created(Box::new(Request::of(e))),
            TaskEvent::Started(e) => Self::Started(e.attempt),
            TaskEvent::AttemptFailed(e) => Self::AttemptFailed {
                attempt: e.attempt,
                lost: matches!(
                    e.failure.kind,
                    FailureKind::WorkerLost | FailureKind::WorkerFault
                ),
            },
            TaskEvent::Released(e) => Self::Released(e.attempt),
            TaskEvent::Succeeded(e) => Self::Succeeded {
                attempt: e.attempt,
                status: e.answer.status,
            },
            TaskEvent::Dead(e) => Self::Dead {
                attempt: e.attempt,
                status: e.status().as_str(),
                cancels_to: e.cancels_to.map(|seq| seq.0),
            },
            TaskEvent::Expired(e) => Self::Expired {
                attempt: e.attempt,
                cancels_to: e.cancels_to.map(|seq| seq.0),
            },
            TaskEvent::RunRequested(_) => Self::RunRequested,
            TaskEvent::CancelRequested(e) => Self::CancelRequested(e.attempt),
            TaskEvent::Cancelled(e) => Self::Cancelled {
                attempt: e.attempt,
                after: e.after.map(|task| task.to_string()),
            },
            TaskEvent::CallbackSent(_) => Self::CallbackSent,
            TaskEvent::CallbackFailed(e) => Self::CallbackFailed {
                given_up: e.retry_at.is_none(),
            },
            TaskEvent::CallbackRequested(_) | TaskEvent::Restated(_) => Self::Restated,
        }
    }

    /// The status that the task gets, if the step ends it.
    pub(crate) fn ends(&self) -> Option<&'static str> {
        match self {
            Self::Succeeded { .. } => Some("completed"),
            Self::Dead { status, .. } => Some(status),
            Self::Expired { .. } => Some("timeout"),
            Self::Cancelled { .. } => Some("cancelled"),
            Self::Created(_)
            | Self::Started(_)
            | Self::AttemptFailed { .. }
            | Self::Released(_)
            | Self::RunRequested
            | Self::CancelRequested(_)
            | Self::CallbackSent
            | Self::Restated
            | Self::CallbackFailed { .. } => None,
        }
    }

    /// Whether no further event about the completion webhook can follow.
    pub(crate) fn closes_webhook(&self) -> bool {
        matches!(
            self,
            Self::CallbackSent | Self::CallbackFailed { given_up: true }
        )
    }

    /// The name of the event in streams.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => "task.created",
            Self::Started(_) => "task.started",
            Self::AttemptFailed { .. } => "task.attempt_failed",
            Self::Released(_) => "task.released",
            Self::Succeeded { .. } => "task.succeeded",
            Self::Dead { .. } => "task.dead",
            Self::Expired { .. } => "task.expired",
            Self::RunRequested => "task.run_requested",
            Self::CancelRequested(_) => "task.cancel_requested",
            Self::Cancelled { .. } => "task.cancelled",
            Self::CallbackSent => "task.callback_sent",
            Self::CallbackFailed { .. } => "task.callback_failed",
            Self::Restated => "task.restated",
        }
    }
}

/// What a task asks for, as far as checks are about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Request {
    pub(crate) queue: String,
    pub(crate) key: Option<String>,
    pub(crate) webhook: bool,
    pub(crate) order: Option<Order>,
    /// Not before this time, in milliseconds since 1970.
    pub(crate) due_ms: Option<i64>,
    /// The ended task that it does again.
    pub(crate) again: Option<String>,
}

/// An ordering key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) cancels_rest: bool,
}

impl Request {
    fn of(created: &TaskCreated) -> Self {
        Self {
            queue: created.queue.to_string(),
            key: created.idempotency_key.clone(),
            webhook: created.on_complete_url.is_some(),
            order: created.ordering.as_ref().map(|ordering| Order {
                key: ordering.key.clone(),
                cancels_rest: ordering.on_failure == OnFailure::CancelRest,
            }),
            due_ms: created.not_before.map(|time| time.0),
            again: created.replay_of.map(|task| task.to_string()),
        }
    }
}

/// One answer to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Told {
    /// 201.
    Accepted { key: Option<String>, id: String },
    /// A cancellation was answered with 200.
    Cancelled { id: String },
    /// A read.
    Status { id: String, status: String },
    /// A read of a task that had been accepted was answered with 404.
    NotFound { id: String },
    /// A task that had been delayed was told to run now, and by that time was answered with 200.
    RunNow { id: String, told_ms: i64 },
    /// 201 for a new task that does an ended one again.
    Again {
        of: String,
        id: String,
        /// As a dead letter, which is retried once only.
        as_dead_letter: bool,
    },
    /// 503. The API promises a `Retry-After` with it.
    Unavailable {
        what: &'static str,
        retry_after: bool,
    },
    /// No answer although the connection stood: a hang.
    NoAnswer { what: &'static str, waited_ms: u64 },
    /// An answer that must not occur, such as 500.
    Odd {
        what: &'static str,
        status: u16,
        body: String,
    },
}

impl Told {
    /// The task that was acknowledged.
    pub(crate) fn accepted(&self) -> Option<&str> {
        match self {
            Self::Accepted { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// One request that the target received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    pub(crate) time_us: u64,
    pub(crate) task: String,
    pub(crate) attempt: u32,
    /// The status that the target answered.
    pub(crate) status: u16,
    /// A completion webhook, not an attempt.
    pub(crate) webhook: bool,
    /// How long the target took to answer, at least, in microseconds.
    pub(crate) takes_us: u64,
}

/// A task in a read model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) status: String,
}

/// What a subscriber read, over all its connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Streamed {
    pub(crate) name: String,
    /// It subscribed to the events after this position.
    pub(crate) after: u64,
    pub(crate) connections: usize,
    /// Position and name of each event, in the order read.
    pub(crate) events: Vec<(u64, String)>,
}

/// What a process printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Output {
    pub(crate) process: String,
    /// Names of the secrets that appear in it.
    pub(crate) secrets: Vec<&'static str>,
    /// Lines that report a panic.
    pub(crate) panics: Vec<String>,
}
