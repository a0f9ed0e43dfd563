//! The result of a run, reduced to the facts that the checks need.

use serde::Serialize;
use waybill_domain::event::{FailureKind, TaskCreated, TaskEvent};
use waybill_domain::flow::RunAfterMode;
use waybill_domain::task::{OnFailure, Once, cause};

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
    /// The limits that tasks of several queues share. Each task with one says the same about it.
    pub(crate) shared: Vec<Shared>,
    /// While queues were paused for sure.
    pub(crate) pauses: Vec<Pause>,
    /// While hosts were opened by hand for sure.
    pub(crate) held: Vec<Held>,
    /// The host that is judged by a rule.
    pub(crate) judged: Option<Judged>,
    /// Tasks with one ordering key, in the order in which a client that waits for each answer was told 201.
    pub(crate) lines: Vec<Vec<String>>,
    /// While the clock of a process was wrong.
    pub(crate) wrong_clocks: Vec<Span>,
    /// The schedules that ran.
    pub(crate) scheduled: Vec<Scheduled>,
    /// The end of TASKS before the last crowd, which came when every task had ended.
    pub(crate) before_crowd: u64,
    /// How owners restated open tasks, by position.
    pub(crate) restated: Vec<Restated>,
    /// How far the log was purged, as it was seen in turn.
    pub(crate) purges: Vec<Purge>,
    /// How long history was kept at least, in milliseconds, while it was kept for the shortest time.
    pub(crate) kept_ms: i64,
}

impl Evidence {
    /// The first position that the log has at the end.
    pub(crate) fn first(&self) -> u64 {
        self.purges.last().map_or(0, |purge| purge.first)
    }

    /// Whether the clock of a process was wrong at some time from `from_ms` to `to_ms`.
    pub(crate) fn is_clock_wrong(&self, from_ms: i64, to_ms: i64) -> bool {
        let overlaps = |span: &Span| span.from_ms <= to_ms && from_ms <= span.to_ms;
        self.wrong_clocks.iter().any(overlaps)
    }
}

/// The log was seen to begin at `first` when it ended at `last`: everything before was purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Purge {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What an owner stated about an open task, so that its history can be purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Restated {
    pub(crate) seq: u64,
    /// When it was stored, by the server's clock, in milliseconds.
    pub(crate) stored_ms: i64,
    pub(crate) task: String,
    /// Position of its creation.
    pub(crate) created: u64,
    /// Attempts that were started.
    pub(crate) attempts: u32,
    pub(crate) key: Option<String>,
    pub(crate) stood: Stood,
}

/// How it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Stood {
    /// No attempt was running.
    Idle,
    Running(u32),
    /// Ended, with a completion webhook to be delivered.
    Ended,
}

/// A stretch of time by the machine's clock, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// A schedule that is due every second: from when its creation was answered to when its pause was first asked for, and when that was answered, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Scheduled {
    pub(crate) id: String,
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    pub(crate) paused_ms: i64,
}

/// The limits of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Limited {
    pub(crate) queue: String,
    /// Most attempts at a time.
    pub(crate) concurrency: Option<u32>,
    pub(crate) rate: Option<Rate>,
}

/// A limit that tasks share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shared {
    pub(crate) key: String,
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

/// A host was opened by hand, as a queue is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) host: String,
    pub(crate) span: Span,
    /// It had a date at which it ends by itself.
    pub(crate) has_end: bool,
}

/// A host that rests for a while after so many failures in a row. All tasks that call it are in one queue, and so in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Judged {
    pub(crate) host: String,
    pub(crate) in_a_row: u32,
    pub(crate) pause_ms: i64,
    /// When the rule was first asked to be removed.
    pub(crate) until_ms: i64,
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
    /// Of a start: it is to find out how the host does.
    pub(crate) probe: bool,
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
    /// It got another priority, while it waited.
    PriorityChanged {
        from: u8,
        to: u8,
    },
    /// It has failed, and does not block those behind it any more.
    Unblocked,
    /// Its target was called too often, so that a limit is paused.
    LimitPaused {
        key: String,
        until_ms: i64,
    },
    /// Its host has failed for so long that nothing is started there any more.
    TargetDisabled,
    /// Requested while that attempt was running.
    CancelRequested(u32),
    Cancelled {
        attempt: Option<u32>,
        /// The failed task before it in the order of their key.
        after: Option<String>,
        /// The task to which it gave way.
        instead: Option<String>,
        /// Because those that it was to run after did not complete.
        predecessor: bool,
    },
    CallbackSent,
    CallbackFailed {
        given_up: bool,
    },
    /// Removed from the dead letters, which changes nothing about the task.
    Purged,
    /// Restated by its owner, or a worker says that it is alive, which changes nothing about the task.
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
            TaskEvent::PriorityChanged(e) => Self::PriorityChanged {
                from: e.from.get(),
                to: e.priority.get(),
            },
            TaskEvent::Unblocked(_) => Self::Unblocked,
            TaskEvent::LimitPaused(e) => Self::LimitPaused {
                key: e.key.to_string(),
                until_ms: e.until.0,
            },
            TaskEvent::TargetDisabled(_) => Self::TargetDisabled,
            TaskEvent::CancelRequested(e) => Self::CancelRequested(e.attempt),
            TaskEvent::Cancelled(e) => Self::Cancelled {
                attempt: e.attempt,
                after: e.after.map(|task| task.to_string()),
                instead: e.instead.map(|instead| instead.task.to_string()),
                predecessor: e.predecessor.is_some(),
            },
            TaskEvent::CallbackSent(_) => Self::CallbackSent,
            TaskEvent::CallbackFailed(e) => Self::CallbackFailed {
                given_up: e.retry_at.is_none(),
            },
            TaskEvent::Purged(_) => Self::Purged,
            TaskEvent::CallbackRequested(_) | TaskEvent::Restated(_) | TaskEvent::Progressed(_) => {
                Self::Restated
            }
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
            | Self::PriorityChanged { .. }
            | Self::Unblocked
            | Self::LimitPaused { .. }
            | Self::TargetDisabled
            | Self::CancelRequested(_)
            | Self::CallbackSent
            | Self::Restated
            | Self::Purged
            | Self::CallbackFailed { .. } => None,
        }
    }

    /// Whether no attempt is running any more.
    pub(crate) fn ends_attempt(&self) -> bool {
        match self {
            Self::AttemptFailed { .. }
            | Self::Succeeded { .. }
            | Self::Dead { .. }
            | Self::Released(_) => true,
            Self::Expired { attempt, .. } | Self::Cancelled { attempt, .. } => attempt.is_some(),
            _ => false,
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
            Self::PriorityChanged { .. } => "task.priority_changed",
            Self::Unblocked => "task.unblocked",
            Self::LimitPaused { .. } => "task.limit_paused",
            Self::TargetDisabled => "task.target_disabled",
            Self::CancelRequested(_) => "task.cancel_requested",
            Self::Cancelled { .. } => "task.cancelled",
            Self::CallbackSent => "task.callback_sent",
            Self::CallbackFailed { .. } => "task.callback_failed",
            Self::Restated => "task.restated",
            Self::Purged => "task.purged",
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
    /// The keys of its limits.
    pub(crate) limits: Vec<String>,
    /// The key of its debounce.
    pub(crate) debounce: Option<String>,
    /// The host that it calls; empty for a pulled task.
    pub(crate) host: String,
    /// Workers claim it, and the target is never called.
    pub(crate) pulled: bool,
    pub(crate) max_retries: u16,
    /// The schedule that made it, and the instant that was due, in milliseconds since 1970.
    pub(crate) run: Option<(String, i64)>,
    /// The task of a workflow that it is.
    pub(crate) member: Option<Member>,
}

/// What a task of a workflow is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Member {
    pub(crate) workflow: String,
    pub(crate) name: String,
    /// How many were stored with it.
    pub(crate) of: u16,
    /// 0 of what was made with the workflow, or the number of the retry that made it.
    pub(crate) retry: u16,
    /// Those of them that it runs after.
    pub(crate) after: Vec<String>,
    /// Whether the first of them is enough.
    pub(crate) any: bool,
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
            limits: created
                .limits
                .iter()
                .map(|limit| limit.key.to_string())
                .collect(),
            debounce: match created.once.as_deref() {
                Some(Once::Debounce(debounce)) => Some(debounce.key.clone()),
                _ => None,
            },
            host: cause::host(&created.url),
            pulled: created.is_pulled(),
            max_retries: created.max_retries,
            run: created
                .schedule
                .as_ref()
                .map(|run| (run.schedule.to_string(), run.due.0)),
            member: created.member.as_deref().map(|member| Member {
                workflow: member.workflow.to_string(),
                name: member.name.clone(),
                of: member.of,
                retry: member.retry,
                after: member.after.iter().map(ToString::to_string).collect(),
                any: member.mode == RunAfterMode::Any,
            }),
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
    /// A request about a task that had been accepted was answered with 404, or 410 for what the log had of it, at that time.
    NotFound { id: String, told_ms: i64 },
    /// A task that had been delayed was told to run now, and by that time was answered with 200.
    RunNow { id: String, told_ms: i64 },
    /// 201 for a new task that does an ended one again.
    Again {
        of: String,
        id: String,
        /// As a dead letter, which is retried once only.
        as_dead_letter: bool,
    },
    /// These tasks waited in a queue when it was purged, and whether the operation was completed in good time.
    Purged { ids: Vec<String>, is_done: bool },
    /// A worker was given this attempt of a pulled task.
    Claimed { id: String, attempt: u32 },
    /// A report of a worker was answered with 200 or 409.
    Reported(Box<Reported>),
    /// These dead letters were to be retried by an operation, so many a second, and whether it was completed in good time.
    Retried {
        ids: Vec<String>,
        rate: u32,
        asked_ms: i64,
        is_done: bool,
    },
    /// These waited when their priority was changed from the first to the second, which was undone; and whether both were completed in good time.
    PrioritiesUndone {
        ids: Vec<String>,
        priorities: (u8, u8),
        is_done: bool,
    },
    /// These were to be cancelled, one a second; that was called off, and then nobody cancelled any until that time. Whether all were cancelled after it.
    CalledOff {
        ids: Vec<String>,
        told_ms: i64,
        until_ms: i64,
        is_done: bool,
    },
    /// 201 for a workflow of so many tasks.
    Flow { id: String, tasks: usize },
    /// 200 for the cancellation of a workflow, at that time.
    FlowCancelled { id: String, told_ms: i64 },
    /// 200 for the first retry of a workflow.
    FlowRetried { id: String },
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

/// What a worker reported of an attempt of a pulled task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reported {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    /// `complete`, `fail` or `release`.
    pub(crate) how: &'static str,
    /// 200: it was taken. Otherwise 409: the worker did not hold the claim any more.
    pub(crate) taken: bool,
    /// The worker was frozen since its claim was answered: there was no heartbeat.
    pub(crate) is_frozen: bool,
    /// When the claim was asked for and answered, and when this was sent and answered, in milliseconds since 1970.
    pub(crate) asked_ms: i64,
    pub(crate) told_ms: i64,
    pub(crate) sent_ms: i64,
    pub(crate) answered_ms: i64,
    pub(crate) lease_ms: u64,
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
