//! The query protocol of the projector, by NATS request and reply: subjects, requests and answers.
//!
//! Any replica answers (they form one queue group). Requests and replies are MessagePack with named
//! fields, so that fields can be added while old and new roles run side by side. A request says how
//! far the answer must have read the log (`min_seq`), and a reply how far it has (`as_of`), for
//! each stream.

/// A query, the type of its answer, and its subject.
macro_rules! query {
    ($query:ty => $answer:ty, $subject:literal) => {
        impl $crate::query::Query for $query {
            const SUBJECT: &'static str = $subject;
            type Answer = $answer;

            fn encode(request: &$crate::query::Request<Self>) -> Vec<u8> {
                // Serialising plain values to memory cannot fail.
                rmp_serde::to_vec_named(request).unwrap_or_default()
            }

            fn decode(
                reply: &[u8],
            ) -> Result<$crate::query::Reply<$answer>, rmp_serde::decode::Error> {
                rmp_serde::from_slice(reply)
            }
        }
    };
}

mod activity;
mod dead;
mod flows;
mod jobs;
mod operations;
mod runs;
mod select;
mod stats;
mod tasks;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use waybill_log::{Stream, StreamSeq};

pub use activity::{
    Activity, ActivityFilter, ActivityNews, ActivityPage, ActivityTarget, AuditKeys, Consistency,
    FollowActivity, Inclusion, ListActivity, Outcome, ProveConsistency, ProveInclusion, Refusal,
    SignNow,
};
pub use dead::{DeadCause, DeadGroup, DeadGroups, GroupDeadLetters, MAX_GROUPS};
pub use flows::{Flow, FlowMember, FlowPage, FlowSummary, GetFlow, ListFlows};
pub use jobs::{CountJobs, JobCounts, JobOrder, JobPage, ListJobs, ListedJob, MAX_JOBS};
pub use operations::{ListSkipped, SkippedPage, TreeVerdict, Verdict, Verify};
pub use runs::{AreKeysUsed, ListRuns, MAX_KEYS, MAX_TALLIED, Run, RunPage, RunTally, TallyRuns};
pub use select::{SelectTasks, Selection};
pub use stats::{Figures, GetStats, Lengths, MAX_STATS_QUEUES, MAX_STEPS, Series, Stats};
pub use tasks::{
    ByIdempotencyKey, Counters, Detail, GetCounters, GetTask, HttpStatus, IdempotentTask,
    ListTasks, MAX_FILTER_VALUES, Page, QueueCounts, Searched, Target, TaskDetail, TaskFilter,
    TaskPage, TaskView, Total, WebhookState,
};

/// Queue group of all replicas.
pub const QUEUE_GROUP: &str = "projector";
/// Largest number of entries in one page.
pub const MAX_LIMIT: u16 = 100;
/// Largest offset of a page. Beyond it, a cursor is needed, since skipping costs as much as
/// reading.
pub const MAX_OFFSET: u32 = 10_000;
/// Limit of rows that one list request looks at. What a filter has not found by then is on the next
/// page.
pub const MAX_SCAN: usize = 20_000;
/// Limit of a text in a filter, in bytes.
pub const MAX_FILTER_BYTES: usize = 1_024;
/// Limit of queues in one answer about counters.
pub const MAX_QUEUES: usize = 1_000;

/// How far both logs were read; 0 is before the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Last sequence of CONTROL.
    pub control: StreamSeq,
    /// Last sequence of TASKS.
    pub tasks: StreamSeq,
}

impl Position {
    /// A position in TASKS only.
    #[must_use]
    pub fn tasks(seq: StreamSeq) -> Self {
        Self {
            tasks: seq,
            ..Self::default()
        }
    }

    /// The position in one stream.
    #[must_use]
    pub fn of(self, stream: Stream) -> StreamSeq {
        match stream {
            Stream::Control => self.control,
            Stream::Tasks => self.tasks,
        }
    }

    /// Whether everything up to `other` was read.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.control >= other.control && self.tasks >= other.tasks
    }
}

/// A query and the type of its answer. It encodes and decodes by methods of its own, so that the compiler
/// makes them once, here, instead of in each crate that asks.
pub trait Query: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// NATS subject of the query.
    const SUBJECT: &'static str;
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// The request, as sent.
    fn encode(request: &Request<Self>) -> Vec<u8>;

    /// The reply, as sent.
    ///
    /// # Errors
    /// It is no such reply, or one of a later version.
    fn decode(reply: &[u8]) -> Result<Reply<Self::Answer>, rmp_serde::decode::Error>;
}

/// A request, as sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request<Q> {
    /// How far the replica must have read.
    pub min_seq: Position,
    /// How long the replica may wait for that, in milliseconds; it has its own limit as well.
    pub patience_ms: u32,
    pub query: Q,
}

/// A reply, as sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply<T> {
    /// How far the replica had read.
    pub as_of: Position,
    /// The answer, or why there is none.
    pub outcome: Result<T, Refused>,
}

/// Why a replica does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The replica has not read far enough.
    Behind,
    /// The replica is overloaded or rebuilding, or the log does not answer.
    Unavailable {
        /// The reason, for operators.
        reason: String,
        /// When to retry, in milliseconds.
        retry_ms: u32,
    },
    /// The query is invalid.
    Invalid {
        /// The invalid field, as clients name it.
        field: String,
        /// What was wrong, and what would be right.
        message: String,
    },
}
