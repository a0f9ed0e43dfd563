//! The event log: the only code that writes to the two streams CONTROL and TASKS.
//!
//! One trait, [`Log`], with two implementations that pass one conformance suite: [`jetstream::JetStreamLog`] for production
//! and [`memory::MemoryLog`] for simulation and for tests of what sits above. Beside the log stand the small coordination
//! concepts that hold no history: [`Leases`] (who owns a partition now), [`Snapshots`] (a disposable shortcut for replay),
//! [`Counters`] (what rate limits have granted), [`Tallies`] (how often credentials were used), [`Fences`] (which gateways serve, and what all of them must have applied)
//! and [`MailQueue`] (letters that wait to be sent);
//! what vouches for the history: [`Checkpoints`]; and what can be destroyed: [`VaultKeys`].

pub mod checkpoints;
pub mod continuity;
pub mod control;
pub mod counter;
pub mod fence;
pub mod frame;
pub mod jetstream;
pub mod mail;
pub mod memory;
pub mod position;
pub mod quarantine;
pub mod record;
pub mod room;
pub mod subject;
pub mod tally;
pub mod tasks;
pub mod vault_keys;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use waybill_domain::time::Timestamp;

pub use checkpoints::{Checkpoints, StoredCheckpoint};
pub use continuity::{Continuity, Fingerprint, Mark, Watch, WentBackwards, compare};
pub use control::{control_event, last_control_event};
pub use counter::{CounterAway, CounterName, Counters};
pub use fence::{FenceAway, Fences};
pub use jetstream::{ConnectError, JetStreamLog, NatsConfig, connect, connect_alone};
pub use mail::{MailQueue, QueuedLetter};
pub use position::Positions;
pub use quarantine::{Closes, Poison, Reason, Skipped, Unreadable, set_aside};
pub use record::{Exact, MsgId, NewRecord, Record, Stream, StreamSeq};
pub use room::{LogFull, Pressure, RoomWatch};
pub use tally::{Addition, Counted, Seen, Tallies, Tally, TallyAway, TallyName, Wanted};
pub use tasks::{TaskRecord, stands_in, task_record};
pub use vault_keys::{KeyName, KeyStoreError, KeysOf, ListedKey, StoredKey, VaultKeys};

/// What must hold on the server for an append to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing: creation events of gateways.
    None,
    /// The last message whose subject matches `filter` (wildcards allowed) has exactly this sequence; `StreamSeq(0)`: there is none.
    ///
    /// Sent as `Nats-Expected-Last-Subject-Sequence` and `-Subject`. The filter may differ from the subject published.
    /// On a replicated stream the server holds back rivals by the text of their filter: whoever shares a boundary must name it by
    /// the same filter, and nobody may append inside it without one.
    LastOn {
        /// Subject or wildcard filter that is watched.
        filter: String,
        /// Sequence that its last message must have.
        seq: StreamSeq,
    },
}

/// How the records of one append hang together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomicity {
    /// All or none, in one JetStream atomic batch (unless there is only one record).
    Atomic,
    /// In order; the log may choose pipelined singles or a batch. After a failure a prefix may be stored.
    Ordered,
}

/// One append: what is stored together, under one expectation.
#[derive(Debug, Clone)]
pub struct Append {
    /// Which of the two logs.
    pub stream: Stream,
    /// At least one, at most [`MAX_BATCH`].
    pub records: Vec<NewRecord>,
    /// Fence or optimistic concurrency check; the same for each of the records.
    pub expect: Expectation,
    /// All or none, or in order.
    pub atomicity: Atomicity,
    /// A message id chosen by a client (idempotency key). Such an append has exactly one record and travels outside of batches,
    /// since a duplicate id refuses the whole batch it is in. `None`: the log makes one, so that its own retries are harmless.
    /// With an expectation beside it, a duplicate whose expectation no longer holds may be answered as either.
    pub msg_id: Option<MsgId>,
}

impl Append {
    /// Refuses what no log could store: no record, too many, or a client's message id on more than one.
    pub fn check(&self) -> Result<(), AppendError> {
        let reason = match self.records.len() {
            0 => "an append needs at least one record".to_owned(),
            1 => return Ok(()),
            count if count > MAX_BATCH => {
                format!("an append holds at most {MAX_BATCH} records, not {count}")
            }
            count if self.msg_id.is_some() => {
                format!("an append with a message id holds one record, not {count}")
            }
            _ => return Ok(()),
        };
        Err(AppendError::Rejected { reason })
    }
}

/// What an acknowledged append got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of each record, in order.
    pub seqs: Vec<StreamSeq>,
    /// The server had already stored a message with this client-chosen id; `seqs` holds the sequence of that earlier one.
    pub duplicate: bool,
}

/// Messages in one atomic batch. The server refuses more than 1000.
pub const MAX_BATCH: usize = 1000;

/// Why an append was not acknowledged. Only [`AppendError::Unknown`] may have been stored.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The expectation did not hold. Nothing was stored.
    #[error("the last sequence on {filter} is not {expected}")]
    Conflict {
        /// The filter of the expectation.
        filter: String,
        /// The sequence that was expected.
        expected: StreamSeq,
    },
    /// The stream, or what the server may store in all, is full. Nothing was stored; once something is removed it works again.
    #[error("the log is full: {reason}")]
    Full {
        /// The server's words.
        reason: String,
    },
    /// The server refuses it for good: too large, no permission. Nothing was stored.
    #[error("the log refused the append: {reason}")]
    Rejected {
        /// The server's words.
        reason: String,
    },
    /// The log does not answer, or too slowly, and nothing was sent. Nothing was stored; try again later.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for an operator.
        reason: String,
    },
    /// Sent, and no answer within the deadline: it may or may not be stored.
    #[error("the outcome of the append is unknown: {reason}")]
    Unknown {
        /// What is wrong, for an operator.
        reason: String,
    },
}

impl AppendError {
    /// Whether the log took nothing from anybody then, rather than refusing this append for what it is.
    #[must_use]
    pub fn is_of_the_log(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::Unknown { .. } => true,
            Self::Conflict { .. } | Self::Rejected { .. } => false,
        }
    }
}

/// An append that failed because the log took none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendFailure {
    /// When that was known.
    pub at: Instant,
    /// Why.
    pub error: AppendError,
}

/// For so long an append that failed speaks against a process, unless a later one is stored: after that it is given work again, and the
/// next append tells.
const FAILURE_COUNTS: Duration = Duration::from_secs(10);

impl AppendFailure {
    /// Whether it still says that the log takes nothing.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.at.elapsed() < FAILURE_COUNTS
    }
}

/// Why reading failed. Reading is always safe to repeat.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The log does not answer, or too slowly.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for an operator.
        reason: String,
    },
    /// Retention has dropped messages that this read would have returned, or may have: whoever holds state from before `first` discards
    /// it and begins there. The read itself may go on from `first`.
    #[error("{stream} begins at {first} now: what stood from {from} on was dropped by retention")]
    Gap {
        /// Name of the stream.
        stream: &'static str,
        /// The first position that was to be read.
        from: StreamSeq,
        /// The first position that is left.
        first: StreamSeq,
    },
}

/// First and last position of a stream, which incarnation of it this is, how full it is, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Nothing that is still stored stands before it; it is behind `last` when the stream is empty.
    pub first: StreamSeq,
    /// Position of the last record ever stored; 0 when none was.
    pub last: StreamSeq,
    /// Creation time of the stream in nanoseconds since the epoch: another value means another log, so checkpoints are void.
    pub incarnation: i64,
    /// Messages stored.
    pub messages: u64,
    /// How its positions are counted.
    pub positions: Positions,
    /// Bytes stored.
    pub bytes: u64,
    /// Bytes that may be stored; `None`: as many as the server takes.
    pub max_bytes: Option<u64>,
    /// The server's clock when it answered. Ages of records are counted by it, since it is what dated them: the clock of whoever asks may be
    /// days off.
    pub now: Timestamp,
}

/// The event log.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends durably: when this is `Ok`, the records are on disk. Answers within a deadline (seconds), never hangs.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// Reads in order from `from` (inclusive), only subjects that match one of `filters` (empty: all), and goes on for ever.
    /// Reconnects by itself without gap or repeat. Returns at once; problems show in [`Tail::next_batch`].
    /// From [`StreamSeq::default`] on (0): from whatever is the first message left.
    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail>;

    /// The record at a position; `None` when it was dropped by retention or never was.
    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError>;

    /// The record at a position with all that share its message, in order: to read those one by one would read the message as often.
    /// Empty when it was dropped by retention or never was.
    async fn read_message(&self, stream: Stream, seq: StreamSeq) -> Result<Vec<Record>, ReadError> {
        Ok(self.read(stream, seq).await?.into_iter().collect())
    }

    /// Up to `limit` records from `from` to `to` (both inclusive) that match one of `filters` (empty: all), in order.
    /// Fewer than `limit` means there are no more in the range. [`ReadError::Gap`] when TASKS no longer holds all of the range; from
    /// position 0 on, the range begins with the first message left, whichever that is.
    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError>;

    /// The last record whose subject matches `filter`. One for TASKS names neither a team nor a queue, and no event but `created`: the
    /// last message that may hold others may hold none of them.
    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError>;

    /// First and last sequence now, from the stream's leader.
    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError>;

    /// For how long a leader that was deposed may go on to answer, and contradict what is known already. Zero where there is one copy.
    fn deposed_for(&self) -> Duration {
        Duration::ZERO
    }

    /// Why the last append of this process to a stream failed, if the log took none then; `None`: the last one was answered, or there was
    /// none. That a log can be read does not say that it takes appends.
    fn last_append_failed(&self, _stream: Stream) -> Option<AppendFailure> {
        None
    }

    /// Drops the messages of TASKS that stand before the one that holds `first`, and says how many that were. CONTROL is kept for ever, so no
    /// method can drop anything of it.
    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError>;
}

/// The first position of a stream, between `bounds.first` and behind its end, that was stored at `time` or later: positions grow with time.
pub async fn first_at(
    log: &dyn Log,
    stream: Stream,
    bounds: Bounds,
    time: Timestamp,
) -> Result<StreamSeq, ReadError> {
    let (mut low, mut high) = (bounds.first.0, bounds.last.0.saturating_add(1));
    while low < high {
        let middle = StreamSeq(low + (high - low) / 2);
        let next = match log.range(stream, &[], middle, bounds.last, 1).await {
            Ok(records) => records.into_iter().next(),
            // What is gone went by retention, and is older than what is left.
            Err(ReadError::Gap { first, .. }) => {
                low = low.max(first.0);
                continue;
            }
            Err(error) => return Err(error),
        };
        match next {
            Some(record) if record.time < time => low = record.seq.0 + 1,
            Some(_) | None => high = middle.0,
        }
    }
    Ok(StreamSeq(low))
}

/// An endless ordered reader of a stream. Dropping it ends it.
#[async_trait]
pub trait Tail: Send {
    /// Waits for at least one record and returns up to `max` that are there, in order; more where the last of them stands in a frame,
    /// whose records come together. An error is passing: call again.
    /// Cancellation safe: a dropped call loses no record.
    ///
    /// A [`ReadError::Gap`] says once that retention has overtaken the reader; it goes on behind the gap. A tail with filters says so
    /// only when it begins and when it reconnects: in between the server passes over what was dropped as over what no filter matches.
    /// Whoever relies on a filtered tail holds the low-water mark below its place, or compares the stream's first position afterwards.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;
}

/// A lease held, as of its last renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased, such as `partition.3`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// The revision that the next renewal must find.
    pub revision: u64,
}

/// Why a lease could not be taken or kept.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LeaseError {
    /// Somebody else holds it, or it ran out meanwhile.
    #[error("lease {name} is not held by us")]
    NotHeld { name: String },
    /// The lease store does not answer.
    #[error("the lease store is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for an operator.
        reason: String,
    },
}

/// Leases with a time to live, in a KV bucket. A lease is advice about who should try; the fence in the log is what is safe.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// How long a lease lives without renewal.
    fn ttl(&self) -> Duration;
    /// Takes a lease that is free, or that this holder has already: the answer to an earlier request may have been lost.
    async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError>;
    /// Extends a lease by its time to live from now.
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError>;
    /// Gives a lease back at once.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;
    /// Who holds what now: `(name, holder)`, by name.
    async fn holders(&self) -> Result<Vec<(String, String)>, LeaseError>;
}

/// Snapshots: large disposable values by name, in an object store. Losing one costs time, never data.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// Replaces the snapshot of that name.
    async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError>;
    /// The newest snapshot of that name. A damaged one reads as `None`.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError>;
}
