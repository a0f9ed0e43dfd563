//! What a run leaves behind, in the few facts the checks need.

use serde::Serialize;
use waybill_domain::event::{FailureKind, TaskEvent};

/// All of it.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Evidence {
    /// The events of TASKS, by position.
    pub(crate) log: Vec<Entry>,
    /// What clients were told, in no particular order.
    pub(crate) told: Vec<Told>,
    /// What the target received, in the order received.
    pub(crate) calls: Vec<Call>,
    /// All tasks as listed in the end.
    pub(crate) listed: Vec<Listed>,
    /// Some of them as read one by one in the end.
    pub(crate) read: Vec<Listed>,
    /// What each subscriber read.
    pub(crate) streamed: Vec<Streamed>,
    /// What the processes printed.
    pub(crate) outputs: Vec<Output>,
    /// When roles were restarted in order.
    pub(crate) planned: Vec<Window>,
}

/// A part of TASKS: behind one position, up to and with another.
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
    pub(crate) task: String,
    pub(crate) step: Step,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Step {
    Created {
        key: Option<String>,
        webhook: bool,
    },
    Started(u32),
    AttemptFailed {
        attempt: u32,
        lost: bool,
    },
    Succeeded {
        attempt: u32,
        status: u16,
    },
    Dead {
        attempt: u32,
    },
    Expired {
        attempt: Option<u32>,
    },
    Released(u32),
    Cancelled,
    CallbackSent,
    CallbackFailed {
        given_up: bool,
    },
    /// Stated again by its owner: nothing happened.
    Restated,
}

impl Step {
    pub(crate) fn of(event: &TaskEvent) -> Self {
        match event {
            TaskEvent::Created(e) => Self::Created {
                key: e.idempotency_key.clone(),
                webhook: e.on_complete_url.is_some(),
            },
            TaskEvent::Started(e) => Self::Started(e.attempt),
            TaskEvent::AttemptFailed(e) => Self::AttemptFailed {
                attempt: e.attempt,
                lost: e.failure.kind == FailureKind::WorkerLost,
            },
            TaskEvent::Released(e) => Self::Released(e.attempt),
            TaskEvent::Succeeded(e) => Self::Succeeded {
                attempt: e.attempt,
                status: e.answer.status,
            },
            TaskEvent::Dead(e) => Self::Dead { attempt: e.attempt },
            TaskEvent::Expired(e) => Self::Expired { attempt: e.attempt },
            TaskEvent::Cancelled(_) => Self::Cancelled,
            TaskEvent::CallbackSent(_) => Self::CallbackSent,
            TaskEvent::CallbackFailed(e) => Self::CallbackFailed {
                given_up: e.retry_at.is_none(),
            },
            TaskEvent::Restated(_) => Self::Restated,
        }
    }

    /// The status it ends the task with.
    pub(crate) fn ends(&self) -> Option<&'static str> {
        match self {
            Self::Succeeded { .. } => Some("completed"),
            Self::Dead { .. } => Some("failed"),
            Self::Expired { .. } => Some("timeout"),
            Self::Cancelled => Some("cancelled"),
            Self::Created { .. }
            | Self::Started(_)
            | Self::AttemptFailed { .. }
            | Self::Released(_)
            | Self::CallbackSent
            | Self::Restated
            | Self::CallbackFailed { .. } => None,
        }
    }

    /// Nothing more is to come about the completion webhook.
    pub(crate) fn closes_webhook(&self) -> bool {
        matches!(
            self,
            Self::CallbackSent | Self::CallbackFailed { given_up: true }
        )
    }

    /// As subscribers see it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "task.created",
            Self::Started(_) => "task.started",
            Self::AttemptFailed { .. } => "task.attempt_failed",
            Self::Released(_) => "task.released",
            Self::Succeeded { .. } => "task.succeeded",
            Self::Dead { .. } => "task.dead",
            Self::Expired { .. } => "task.expired",
            Self::Cancelled => "task.cancelled",
            Self::CallbackSent => "task.callback_sent",
            Self::CallbackFailed { .. } => "task.callback_failed",
            Self::Restated => "task.restated",
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
    /// 503. The contract wants a `Retry-After`.
    Unavailable {
        what: &'static str,
        retry_after: bool,
    },
    /// No answer although the connection stood: a hang.
    NoAnswer { what: &'static str, waited_ms: u64 },
    /// An answer that has no place here, such as 500.
    Odd {
        what: &'static str,
        status: u16,
        body: String,
    },
}

/// One request that the target received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    pub(crate) time_us: u64,
    pub(crate) task: String,
    pub(crate) attempt: u32,
    /// What it was answered with.
    pub(crate) status: u16,
    /// A completion webhook, not an attempt.
    pub(crate) webhook: bool,
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
    /// It asked for what is behind this position.
    pub(crate) after: u64,
    pub(crate) connections: usize,
    /// Position and name of each event, in the order read.
    pub(crate) events: Vec<(u64, String)>,
}

/// What a process printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Output {
    pub(crate) process: String,
    /// Which secrets stand in it.
    pub(crate) secrets: Vec<&'static str>,
    /// Lines that tell of a panic.
    pub(crate) panics: Vec<String>,
}
