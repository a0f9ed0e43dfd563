//! What may be asked of a projector, by NATS request and reply: subjects, requests and answers.
//!
//! Any replica answers (one queue group). Requests and replies are MessagePack with named fields, so that a field can be added
//! while old and new roles run side by side. A request says how far the answer must have read the log (`min_seq`), a reply says
//! how far it has (`as_of`); both count per stream.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use waybill_domain::actor::Actor;
use waybill_domain::audit::Hash;
use waybill_domain::event::Answer;
use waybill_domain::id::{Environment, KeyId, QueueName, TaskId, TeamId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::Resolve;
use waybill_log::{Skipped, Stream, StreamSeq};

/// Queue group of all replicas.
pub const QUEUE_GROUP: &str = "projector";
/// Largest page.
pub const MAX_LIMIT: u16 = 100;
/// Furthest page that is found by counting. Further on, a cursor is needed: skipping costs what reading costs.
pub const MAX_OFFSET: u32 = 10_000;
/// Rows that one list request looks at. What a filter has not found by then is on the next page.
pub const MAX_SCAN: usize = 20_000;
/// Longest text of a filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 1_024;
/// Queues in one answer about counters.
pub const MAX_QUEUES: usize = 1_000;

/// How far both logs have been read. 0: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Last sequence of CONTROL.
    pub control: StreamSeq,
    /// Last sequence of TASKS.
    pub tasks: StreamSeq,
}

impl Position {
    /// Only TASKS matters.
    #[must_use]
    pub fn tasks(seq: StreamSeq) -> Self {
        Self {
            tasks: seq,
            ..Self::default()
        }
    }

    /// Of one stream.
    #[must_use]
    pub fn of(self, stream: Stream) -> StreamSeq {
        match stream {
            Stream::Control => self.control,
            Stream::Tasks => self.tasks,
        }
    }

    /// Has it read everything that the other one has?
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.control >= other.control && self.tasks >= other.tasks
    }
}

/// A question and its answer.
pub trait Query: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Where it is asked.
    const SUBJECT: &'static str;
    /// What comes back.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
}

/// A request as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<Q> {
    /// What the answer must have read.
    pub min_seq: Position,
    /// How long the replica may wait for that, in milliseconds; it has its own limit, too.
    pub patience_ms: u32,
    /// The question.
    pub query: Q,
}

/// A reply as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// What the answer has read.
    pub as_of: Position,
    /// The answer, or why there is none.
    pub outcome: Result<T, Refused>,
}

/// Why a replica does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// It has not yet read what the answer needs.
    Behind,
    /// It has too much to do, is rebuilding, or the log does not answer.
    Unavailable {
        /// For an operator.
        reason: String,
        /// When to try again, in milliseconds.
        retry_ms: u32,
    },
    /// The question does not do.
    Invalid {
        /// Which part, as clients name it.
        field: String,
        /// What was wrong and what would be right.
        message: String,
    },
}

/// One task by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTask {
    /// Which.
    pub id: TaskId,
    /// When given, a task of another team is not found. Without, compare the row's team.
    pub team: Option<TeamId>,
    /// Read headers, body and answer from the log, too.
    pub detail: bool,
}

impl Query for GetTask {
    const SUBJECT: &'static str = "wb.query.task";
    type Answer = Option<TaskView>;
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Where it stands now; differs from the row's status when a delay has passed meanwhile.
    pub status: Status,
    /// All but what is large.
    pub row: TaskRow,
    /// What is large.
    pub detail: Detail,
    /// Bytes of its body, where that was read although it had no room.
    #[serde(default)]
    pub body_bytes: Option<u64>,
}

/// The part of a task that is only in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Not asked for, or beyond the room of this reply: ask for the task alone.
    Omitted,
    /// Here it is.
    Read(Box<TaskDetail>),
    /// Retention has dropped the creation of the task from the log; the row will follow.
    Dropped,
}

/// What is large about a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskDetail {
    /// Headers as given, in order.
    pub headers: Vec<(String, String)>,
    /// The body as given.
    pub body: Option<String>,
    /// Where references to the vault are replaced beside the headers.
    #[serde(default)]
    pub resolve: Resolve,
    /// The answer that ended the task, when one did.
    pub result: Option<Answer>,
}

/// Tasks of a team, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTasks {
    /// Whose.
    pub team: TeamId,
    /// Which of them.
    #[serde(default)]
    pub filter: TaskFilter,
    /// Which page.
    #[serde(default)]
    pub page: Page,
    /// Read headers, bodies and answers from the log, too, as far as the reply has room.
    #[serde(default)]
    pub detail: bool,
}

impl Query for ListTasks {
    const SUBJECT: &'static str = "wb.query.tasks";
    type Answer = TaskPage;
}

/// Which tasks: all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskFilter {
    /// Standing so now.
    pub status: Option<Status>,
    /// In that queue.
    pub queue: Option<QueueName>,
    /// Accepted at or after.
    pub created_after: Option<Timestamp>,
    /// Accepted before.
    pub created_before: Option<Timestamp>,
    /// Calling that.
    pub target: Option<Target>,
    /// Part of the id, URL or queue, letters of either case. Looks at up to [`MAX_SCAN`] tasks for each page.
    pub q: Option<String>,
    /// Whose completion webhook stands so. Looks at as many.
    #[serde(default)]
    pub webhook: Option<WebhookState>,
}

/// Where the completion webhook of a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// Still to be delivered.
    Pending,
    /// Delivered.
    Delivered,
    /// Tried as often as it is, and never delivered.
    GivenUp,
}

impl WebhookState {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::GivenUp];

    /// As in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::GivenUp => "given_up",
        }
    }

    /// Of that task, when it has one.
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

/// What a task calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Exactly that URL.
    Exact(String),
    /// A URL that begins so, such as `https://example.org/`.
    Prefix(String),
}

impl Target {
    /// As in `?target=`: a trailing `*` makes it a prefix.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Is it this URL?
    #[must_use]
    pub fn matches(&self, url: &str) -> bool {
        match self {
            Self::Exact(wanted) => url == wanted,
            Self::Prefix(prefix) => url.starts_with(prefix),
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Page {
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// How many to leave out, up to [`MAX_OFFSET`]; counted from the cursor when there is one.
    pub offset: u32,
    /// `next` of an earlier answer: goes on right there, whatever was added meanwhile.
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
    /// How many match in all.
    pub total: Total,
    /// Where to go on; `None`: that was all. A page can be short, even empty, and yet have a next one ([`MAX_SCAN`]).
    pub next: Option<String>,
}

/// A count that may have been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// So many, or at least so many.
    pub count: u64,
    /// Counted to the end.
    pub exact: bool,
}

/// The task that a client's idempotency key made.
///
/// Answered only by a replica that has, within the last minute, read everything the log then held: what it does not know is newer than
/// that, and falls in the server's duplicate window of two minutes. So no `min_seq` is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByIdempotencyKey {
    /// Whose.
    pub team: TeamId,
    /// The key as the client sent it.
    pub key: String,
}

impl Query for ByIdempotencyKey {
    const SUBJECT: &'static str = "wb.query.idempotency";
    type Answer = Option<IdempotentTask>;
}

/// A task made with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotentTask {
    /// The task.
    pub id: TaskId,
    /// Where in TASKS its creation is.
    pub created_seq: StreamSeq,
    /// SHA-256 of the request, in hex.
    pub fingerprint: Option<String>,
}

/// How many tasks stand where, by queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCounters {
    /// Whose.
    pub team: TeamId,
}

impl Query for GetCounters {
    const SUBJECT: &'static str = "wb.query.counters";
    type Answer = Counters;
}

/// Counters of a team, over the tasks that the log still holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// By queue, in the order of their names; at most [`MAX_QUEUES`].
    pub queues: Vec<QueueCounts>,
    /// There are more queues than that.
    pub truncated: bool,
    /// `false`: so many delays have passed without a start that `delayed` and `pending` are only right together.
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
}

/// Who did what, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListActivity {
    /// Whose; `None`: what belongs to no team, such as partitions changing hands.
    pub team: Option<TeamId>,
    /// Which of it.
    #[serde(default)]
    pub filter: ActivityFilter,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// `next` of an earlier answer.
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListActivity {
    const SUBJECT: &'static str = "wb.query.activity";
    type Answer = ActivityPage;
}

/// Which activity: all that is given must hold. Looks at up to [`MAX_SCAN`] entries for each page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityFilter {
    /// Only of this log.
    pub stream: Option<Stream>,
    /// Only by this actor.
    pub actor: Option<Actor>,
    /// Only events whose type begins so, such as `key.` or `task.created`.
    pub event: Option<String>,
    /// Only about this task.
    pub task: Option<TaskId>,
    /// Only about what has this id.
    pub target: Option<String>,
    /// Only from this address.
    pub source: Option<String>,
    /// Only what came out so.
    pub outcome: Option<Outcome>,
    /// At or after.
    pub after: Option<Timestamp>,
    /// Before.
    pub before: Option<Timestamp>,
}

/// How it came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    #[default]
    Ok,
    /// It was not allowed.
    Refused,
}

/// A page of activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityPage {
    /// Newest first.
    pub entries: Vec<Activity>,
    /// Where to go on; `None`: that was all.
    pub next: Option<String>,
}

/// One mutation and who caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Which log.
    pub stream: Stream,
    /// Where in it.
    pub seq: StreamSeq,
    /// When it was stored.
    pub at: Timestamp,
    /// Type and version, such as `task.created.v1`.
    pub event: String,
    /// Who.
    pub actor: Actor,
    /// What the key, application or person that acted was called then; a revoked key keeps its name.
    pub actor_name: Option<String>,
    /// Address of the person who acted.
    #[serde(default)]
    pub actor_email: Option<String>,
    /// What it is about.
    #[serde(default)]
    pub target: Option<ActivityTarget>,
    /// The task it is about.
    pub task: Option<TaskId>,
    /// The queue of that task.
    pub queue: Option<QueueName>,
    /// The key it is about.
    pub key: Option<KeyId>,
    /// The team's world that it belongs to; `None`: to both.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Id of the request that caused it.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Address that it came from.
    #[serde(default)]
    pub source: Option<String>,
    /// What the client calls itself.
    #[serde(default)]
    pub agent: Option<String>,
    /// How it came out.
    #[serde(default)]
    pub outcome: Outcome,
    /// Why it was refused, when it was.
    #[serde(default)]
    pub refusal: Option<Refusal>,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTarget {
    /// `task`, `key`, `member`, `invitation`, `app`, `grant`, `team`, `user`, `session`, or `route` of what was refused.
    pub kind: String,
    /// Which.
    pub id: String,
    /// What it was called then.
    pub name: Option<String>,
}

/// Attempts that were refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The word for programs that the client was given.
    pub code: String,
    /// How many of that kind since the last such entry.
    pub count: u64,
}

/// What people and credentials did, as it goes on: all of CONTROL that [`ListActivity`] shows, and of TASKS what a credential caused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowActivity {
    /// Whose.
    pub team: TeamId,
    /// Which of it.
    #[serde(default)]
    pub filter: ActivityFilter,
    /// Only what stands after it.
    pub after: Position,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
}

impl Query for FollowActivity {
    const SUBJECT: &'static str = "wb.query.activity.follow";
    type Answer = ActivityNews;
}

/// What came after a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityNews {
    /// Oldest first; those of one log are in its order.
    pub entries: Vec<Activity>,
    /// All that there is up to here is among the entries.
    pub reached: Position,
    /// The first sequence of TASKS that is still kept.
    pub first_task: StreamSeq,
}

/// Records of both logs that do not count: damaged, misplaced, or a newer version's. For operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSkipped {
    /// Only what stands after it, CONTROL before TASKS.
    pub after: Option<(Stream, StreamSeq)>,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u16,
}

impl Query for ListSkipped {
    const SUBJECT: &'static str = "wb.query.skipped";
    type Answer = SkippedPage;
}

/// Some of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedPage {
    /// CONTROL before TASKS, each in its order.
    pub skipped: Vec<Skipped>,
    /// There are more behind the last one.
    pub has_more: bool,
}

/// That an event of CONTROL is a leaf of an audit tree, and which one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveInclusion {
    /// Whose tree; `None`: that of all of CONTROL.
    pub team: Option<TeamId>,
    /// The event.
    pub seq: StreamSeq,
    /// Leaves of the tree that it is proved to be in, such as those of a checkpoint.
    pub size: u64,
}

impl Query for ProveInclusion {
    const SUBJECT: &'static str = "wb.query.audit.inclusion";
    /// `None`: the tree has no such event.
    type Answer = Option<Inclusion>;
}

/// The proof, as RFC 9162, 2.1.3.2 checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Which leaf it is, counted from 0.
    pub index: u64,
    /// The hash of the leaf.
    pub leaf: Hash,
    /// Siblings from the leaf up to the root.
    pub path: Vec<Hash>,
    /// Root of the tree of that size.
    pub root: Hash,
}

/// That an audit tree begins with what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveConsistency {
    /// Whose tree; `None`: that of all of CONTROL.
    pub team: Option<TeamId>,
    /// Leaves of the older tree.
    pub from: u64,
    /// Leaves of the newer tree.
    pub to: u64,
}

impl Query for ProveConsistency {
    const SUBJECT: &'static str = "wb.query.audit.consistency";
    type Answer = Consistency;
}

/// The proof, as RFC 9162, 2.1.4.2 checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// Hashes of subtrees.
    pub path: Vec<Hash>,
    /// Root of the older tree.
    pub from_root: Hash,
    /// Root of the newer tree.
    pub to_root: Hash,
}

/// The public keys that sign checkpoints. Answered by replicas that were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditKeys {}

impl Query for AuditKeys {
    const SUBJECT: &'static str = "wb.query.audit.keys";
    /// A key a line, as `waybill_domain::audit::TrustedKeys` reads and writes them.
    type Answer = String;
}

/// Rebuild beside the live read model, up to the same positions, and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Verify {}

impl Query for Verify {
    const SUBJECT: &'static str = "wb.admin.verify";
    type Answer = Verdict;
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Both stood there.
    pub at: Position,
    /// First sequence of TASKS that both still held.
    pub floor: StreamSeq,
    /// Each tree.
    pub trees: Vec<TreeVerdict>,
    /// How long the rebuild took, in milliseconds.
    pub rebuild_ms: u64,
}

impl Verdict {
    /// No tree differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.trees.iter().all(TreeVerdict::is_equal)
    }
}

/// One tree compared: SHA-256 over its ordered rows, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeVerdict {
    /// Its name.
    pub tree: String,
    /// Of the one that grew.
    pub live: String,
    /// Of the one made anew.
    pub rebuilt: String,
}

impl TreeVerdict {
    /// Byte for byte the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.live == self.rebuilt
    }
}

/// Sign what there is of a tree now, if it has grown since its newest checkpoint. Answered by the notary alone, not by every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignNow {
    /// Whose tree; `None`: that of all of CONTROL.
    pub team: Option<TeamId>,
}

impl Query for SignNow {
    const SUBJECT: &'static str = "wb.notary.sign";
    /// The newest checkpoint, a signed note. `None`: nothing has happened in the team.
    type Answer = Option<String>;
}
