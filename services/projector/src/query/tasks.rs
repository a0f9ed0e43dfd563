//! Queries about tasks: a single task, lists, the task of an idempotency key, and counters.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Answer, BodyEncoding};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::Resolve;
use waybill_log::StreamSeq;

/// A task by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTask {
    pub id: TaskId,
    /// If given, a task of another team is not found. Otherwise the caller must compare the row's
    /// team.
    pub team: Option<TeamId>,
    /// Whether to read headers, body and answer from the log as well.
    pub detail: bool,
}

query!(GetTask => Option<TaskView>, "wb.query.task");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Current status; differs from that of the row if a delay has passed.
    pub status: Status,
    /// Everything except the large parts.
    pub row: TaskRow,
    /// The large parts.
    pub detail: Detail,
    /// Length of the body, if it was read but did not fit.
    #[serde(default)]
    pub body_bytes: Option<u64>,
    /// The last task that does this one again.
    #[serde(default)]
    pub replayed_as: Option<TaskId>,
}

/// The large parts of a task, which only the log has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Not requested, or too large for this reply: query the task alone.
    Omitted,
    Read(Box<TaskDetail>),
    /// Retention has purged the creation of the task from the log; the row will follow.
    Dropped,
}

/// The large parts of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Headers as given, in order.
    pub headers: Vec<(String, String)>,
    /// The body as given.
    pub body: Option<String>,
    /// Encoding of the body.
    #[serde(default)]
    pub body_encoding: BodyEncoding,
    /// Where vault references are replaced, besides the headers.
    #[serde(default)]
    pub resolve: Resolve,
    /// The answer that ended the task, if there is one.
    pub result: Option<Answer>,
    /// The tags of a job, as JSON.
    #[serde(default)]
    pub job_tags: Option<String>,
}

/// Tasks of a team, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTasks {
    pub team: TeamId,
    #[serde(default)]
    pub filter: TaskFilter,
    #[serde(default)]
    pub page: Page,
    /// Whether to read headers, bodies and answers from the log as well, as far as they fit into
    /// the reply.
    #[serde(default)]
    pub detail: bool,
}

query!(ListTasks => TaskPage, "wb.query.tasks");

/// Filter of tasks; all given conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// Only with this current status; used by gateways older than `statuses`.
    pub status: Option<Status>,
    /// Only with one of these current statuses. If it is empty and `status` is `None`, with any.
    pub statuses: Vec<Status>,
    pub queue: Option<QueueName>,
    /// Only accepted at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only accepted before this time.
    pub created_before: Option<Timestamp>,
    pub target: Option<Target>,
    /// Part of the id, URL or queue, ignoring case. Looks at up to [`MAX_SCAN`] tasks per page.
    pub q: Option<String>,
    /// Only with this state of the completion webhook. Looks at as many tasks.
    #[serde(default)]
    pub webhook: Option<WebhookState>,
    /// Only ended tasks, with or without success. Looks at as many tasks.
    #[serde(default)]
    pub ok: Option<bool>,
    /// Only with all of these tags. Looks at as many tasks.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only in one of these queues, besides `queue`. Looks at as many tasks.
    #[serde(default)]
    pub queues: Vec<QueueName>,
    /// Only to one of these hosts, with their port or for any. Looks at as many tasks.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Only with one of these statuses as the last answer. Looks at as many tasks.
    #[serde(default)]
    pub http_statuses: Vec<HttpStatus>,
    /// Part of the error, ignoring case. Looks at as many tasks.
    #[serde(default)]
    pub error: Option<String>,
    /// Only with at least as many attempts. Looks at as many tasks.
    #[serde(default)]
    pub min_attempts: Option<u32>,
    /// Only ended at this time or later. Looks at as many tasks.
    #[serde(default)]
    pub completed_after: Option<Timestamp>,
    /// Only ended before this time. Looks at as many tasks.
    #[serde(default)]
    pub completed_before: Option<Timestamp>,
    /// Only dead letters: tasks that failed for good, because no attempt was left or the failure was
    /// final, and that nobody has removed.
    #[serde(default)]
    pub dead: bool,
    /// Only tasks that were replayed, or only those that were not.
    #[serde(default)]
    pub replayed: Option<bool>,
    /// Only tasks that were accepted up to this position of TASKS; replays behind it do not count.
    #[serde(default)]
    pub up_to: Option<StreamSeq>,
    /// Of failed tasks only those that a purge which began at this time is for: they were dead letters
    /// then, and it may have removed them since.
    #[serde(default)]
    pub purgeable_at: Option<Timestamp>,
    /// Only tasks that workers pull, or only those that are called.
    #[serde(default)]
    pub pulled: Option<bool>,
    /// Only created by this actor. Looks at as many tasks.
    #[serde(default)]
    pub actor: Option<Actor>,
    /// Of these queues none that ended before that time.
    #[serde(default)]
    pub hidden: BTreeMap<QueueName, Timestamp>,
}

impl TaskFilter {
    /// The wanted statuses without duplicates; empty for all.
    #[must_use]
    pub fn wanted(&self) -> BTreeSet<Status> {
        self.status.iter().chain(&self.statuses).copied().collect()
    }

    /// Whether it leaves out a task because of how long ago it ended.
    #[must_use]
    pub fn hides(&self, row: &TaskRow) -> bool {
        let until = self.hidden.get(&row.queue);
        until.is_some_and(|until| row.is_over_since(*until))
    }

    /// Whether a condition has no index, so that each task must be looked at.
    #[must_use]
    pub fn has_no_index(&self) -> bool {
        let indexed = Self {
            status: self.status,
            statuses: self.statuses.clone(),
            queue: self.queue.clone(),
            created_after: self.created_after,
            created_before: self.created_before,
            pulled: self.pulled,
            ..Self::default()
        };
        *self != indexed
    }
}

/// Limit of values of one condition of a filter.
pub const MAX_FILTER_VALUES: usize = 20;

/// Statuses of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpStatus {
    /// `503`
    Exactly(u16),
    /// `5xx`, by its first digit.
    Class(u16),
}

impl HttpStatus {
    /// Reads `503` or `5xx`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok();
            return class
                .filter(|class| (1..=5).contains(class))
                .map(Self::Class);
        }
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        let status = text.parse().ok().filter(|_| digits);
        status
            .filter(|status| (100..600).contains(status))
            .map(Self::Exactly)
    }

    /// Whether a status is one of them.
    #[must_use]
    pub fn holds(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => status == wanted,
            Self::Class(class) => status / 100 == class,
        }
    }
}

/// The tasks that were looked at for a condition that has no index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Searched {
    /// How many.
    pub tasks: u64,
    /// When the newest and the oldest of them were created; `None` if there was none.
    pub window: Option<(Timestamp, Timestamp)>,
    /// Whether nothing is left behind them.
    pub complete: bool,
}

/// State of a task's completion webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// Not delivered yet.
    Pending,
    Delivered,
    /// Not delivered, and not tried again.
    GivenUp,
}

impl WebhookState {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::GivenUp];

    /// The name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }

    /// The state for a task; `None` if it has no webhook.
    #[must_use]
    pub fn of(row: &TaskRow) -> Option<Self> {
        row.on_complete_url.as_ref()?;
        Some(match &row.callback {
            Some(callback) if callback.delivered.is_some() => Self::Delivered,
            Some(callback) if callback.retry_at.is_none() => Self::GivenUp,
            Some(_) | None => Self::Pending,
        })
    }
}

/// Filter of target URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Exactly this URL.
    Exact(String),
    /// URLs with this prefix, such as `https://example.org/`.
    Prefix(String),
}

impl Target {
    /// Parses `?target=`: a trailing `*` makes it a prefix.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Whether the URL matches.
    #[must_use]
    pub fn matches(&self, url: &str) -> bool {
        match self {
            Self::Exact(wanted) => url == wanted,
            Self::Prefix(prefix) => url.starts_with(prefix),
        }
    }
}

/// Position and size of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// From 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// Number of tasks to skip, up to [`MAX_OFFSET`]; counted from the cursor if there is one.
    pub offset: u32,
    /// `next` of an earlier answer: continues exactly there, whatever was added since.
    pub cursor: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 20,
            offset: 0,
            cursor: None,
        }
    }
}

/// A page of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskPage {
    /// Newest first.
    pub tasks: Vec<TaskView>,
    /// Total number of matches.
    pub total: Total,
    /// Cursor of the next page; `None` on the last one. A page can be short or even empty and still
    /// have a next one ([`MAX_SCAN`]).
    pub next: Option<String>,
    /// What was looked at, if a condition has no index.
    #[serde(default)]
    pub searched: Option<Searched>,
}

/// A count that may be incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// The exact number, or a lower bound.
    pub count: u64,
    /// Whether `count` is exact.
    pub exact: bool,
}

/// The task that was created with a client's idempotency key.
///
/// Only a replica that was caught up within the last minute answers: what it does not know is newer
/// than that, and falls within the server's duplicate window of two minutes. So no `min_seq` is
/// needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByIdempotencyKey {
    pub team: TeamId,
    /// The key as the client sent it.
    pub key: String,
}

query!(ByIdempotencyKey => Option<IdempotentTask>, "wb.query.idempotency");

/// A task that was created with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotentTask {
    pub id: TaskId,
    /// Sequence of its creation in TASKS.
    pub created_seq: StreamSeq,
    /// SHA-256 of the request, in hex.
    pub fingerprint: Option<String>,
}

/// Number of tasks by queue and status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCounters {
    pub team: TeamId,
    /// Only of this queue. Older replicas answer with those of all.
    #[serde(default)]
    pub queue: Option<QueueName>,
}

query!(GetCounters => Counters, "wb.query.counters");

/// Counters of a team, over the tasks that the log still has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// One per queue, in the order of their names; at most [`MAX_QUEUES`].
    pub queues: Vec<QueueCounts>,
    /// Whether there are more queues than that.
    pub truncated: bool,
    /// `false` if so many delays have passed without a start that only the sum of `delayed` and
    /// `pending` is exact.
    pub exact: bool,
}

/// Tasks of a queue by status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a field for each status")]
pub struct QueueCounts {
    pub queue: QueueName,
    pub pending: u64,
    pub delayed: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
    pub timeout: u64,
    pub cancelled: u64,
    /// Of the pending ones: when the oldest was created, or its delay was over.
    #[serde(default)]
    pub waiting_since: Option<Timestamp>,
}
