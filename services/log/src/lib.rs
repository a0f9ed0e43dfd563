//! The event log: the only code that writes to the two streams CONTROL and TASKS.
//!
//! The trait [`Log`] has two implementations that pass the same conformance suite:
//! [`jetstream::JetStreamLog`] for production, and [`memory::MemoryLog`] for simulations and for
//! tests of the crates above. The crate also has stores that keep no history: [`Leases`] (which
//! worker owns a partition), [`Snapshots`] (disposable shortcuts for a replay), [`Counters`] (what
//! rate limits have granted), [`Tallies`] (how often credentials were used), [`Fences`] (which
//! gateways serve, and what all of them must have applied), [`MailQueue`] (letters that wait to be
//! sent) and [`Captures`] (what calls sent and were answered). [`Checkpoints`] are signed roots that
//! vouch for the history; [`VaultKeys`] are keys that can be destroyed for good.

pub mod capture;
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

pub use capture::{Capture, CapturedCall, CapturedKind, CapturedMessage, Captures};
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

/// The condition under which the server stores an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// No condition. Gateways append creations this way.
    None,
    /// The last message whose subject matches `filter`, which may have wildcards, has exactly this
    /// sequence. `StreamSeq(0)` expects that there is no such message.
    ///
    /// Sent as `Nats-Expected-Last-Subject-Sequence` and `-Subject`. The filter may differ from the subject published.
    /// On a replicated stream the server compares concurrent appends by the text of their filters.
    /// All writers of a boundary must therefore use the same filter, and none of them may append
    /// within the boundary without it.
    LastOn {
        /// Subject or wildcard filter that is watched.
        filter: String,
        /// Sequence that its last message must have.
        seq: StreamSeq,
    },
}

/// Whether the records of one append are stored together or one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomicity {
    /// All or none, in one JetStream atomic batch (unless there is only one record).
    Atomic,
    /// In order; the log may choose pipelined singles or a batch. After a failure a prefix may be stored.
    Ordered,
}

/// Records to be stored under one expectation.
#[derive(Debug, Clone)]
pub struct Append {
    /// The log to append to.
    pub stream: Stream,
    /// At least one, at most [`MAX_BATCH`].
    pub records: Vec<NewRecord>,
    /// Fence or optimistic concurrency check; the same for each of the records.
    pub expect: Expectation,
    pub atomicity: Atomicity,
    /// A message id chosen by a client (an idempotency key). Such an append is sent apart from
    /// others, since the server refuses a whole message or batch for one duplicate id. With several
    /// records it is [`Atomicity::Atomic`], and of a duplicate the positions are not known.
    /// `None`: the log generates an id, which makes its own retries harmless. If the append has an
    /// expectation too, and that no longer holds, a duplicate may be reported as a conflict.
    pub msg_id: Option<MsgId>,
}

impl Append {
    /// Refuses an append that no log can store: without records, with too many, or with a client's
    /// message id and several records.
    pub fn check(&self) -> Result<(), AppendError> {
        let reason = match self.records.len() {
            0 => "an append needs at least one record".to_owned(),
            1 => return Ok(()),
            count if count > MAX_BATCH => {
                format!("an append holds at most {MAX_BATCH} records, not {count}")
            }
            count if self.msg_id.is_some() && self.atomicity == Atomicity::Ordered => {
                format!("an append with a message id holds one record or is atomic; it has {count}")
            }
            _ => return Ok(()),
        };
        Err(AppendError::Rejected { reason })
    }
}

/// The result of an acknowledged append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of each record, in order.
    pub seqs: Vec<StreamSeq>,
    /// The server had already stored a message with this client-chosen id; `seqs` holds the sequence of that earlier one, or nothing if
    /// the append has several records.
    pub duplicate: bool,
}

/// Messages in one atomic batch. The server refuses more than 1000.
pub const MAX_BATCH: usize = 1000;

/// Why an append was not acknowledged. Only after [`AppendError::Unknown`] may it have been stored.
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
    /// The stream, or the storage of the server as a whole, is full. Nothing was stored. Appends
    /// work again once something is removed.
    #[error("the log is full: {reason}")]
    Full {
        /// The server's error text.
        reason: String,
    },
    /// The server refused the append permanently, for example because it is too large or not
    /// permitted. Nothing was stored.
    #[error("the log refused the append: {reason}")]
    Rejected {
        /// The server's error text.
        reason: String,
    },
    /// The log does not answer, or answers too slowly, and the append was not sent. Nothing was
    /// stored; try again later.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for an operator.
        reason: String,
    },
    /// The append was sent but not answered by the deadline: it may or may not be stored.
    #[error("the outcome of the append is unknown: {reason}")]
    Unknown {
        /// What is wrong, for an operator.
        reason: String,
    },
}

impl AppendError {
    /// Whether the failure concerns the log as a whole, and not only this append.
    #[must_use]
    pub fn is_of_the_log(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::Unknown { .. } => true,
            Self::Conflict { .. } | Self::Rejected { .. } => false,
        }
    }
}

/// A failed append whose failure concerns the log as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendFailure {
    /// When the failure was reported.
    pub at: Instant,
    pub error: AppendError,
}

/// How long a failed append counts against a process, unless a later one is stored. After that the
/// process is given work again, and its next append decides.
const FAILURE_COUNTS: Duration = Duration::from_secs(10);

impl AppendFailure {
    /// Whether the failure is recent enough to assume that the log still takes no appends.
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
    /// Retention has dropped messages that this read would have returned, or might have. A reader
    /// with state from before `first` must discard it and start there; the read itself can continue
    /// from `first`.
    #[error("{stream} now begins at {first}: retention has dropped the records from {from} on")]
    Gap {
        /// Name of the stream.
        stream: &'static str,
        /// The first position that was requested.
        from: StreamSeq,
        /// The first position that is still stored.
        first: StreamSeq,
    },
}

/// The state of a stream at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No stored record has a lower position. It is greater than `last` if the stream is empty.
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
    /// Limit of the bytes stored; `None`: only the limit of the server applies.
    pub max_bytes: Option<u64>,
    /// The server's clock when it answered. Ages of records are measured by it, since the server
    /// dated them and the caller's clock may be days off.
    pub now: Timestamp,
}

/// The event log.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Appends durably: `Ok` means that the records are on disk. Returns within a deadline of some
    /// seconds.
    async fn append(&self, append: Append) -> Result<Appended, AppendError>;

    /// An endless reader, in order, from `from` (inclusive), of subjects that match one of
    /// `filters` (empty: all). It reconnects by itself, without gaps or repetitions. This returns
    /// at once; [`Tail::next_batch`] reports problems. From [`StreamSeq::default`] (0) it starts at
    /// the first message that is still stored.
    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail>;

    /// The record at a position; `None` if retention has dropped it, or if there never was one.
    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError>;

    /// All records of the message that holds a position, in order: reading them one by one would
    /// read the message as many times. Empty if retention has dropped the message, or if there
    /// never was one.
    async fn read_message(&self, stream: Stream, seq: StreamSeq) -> Result<Vec<Record>, ReadError> {
        Ok(self.read(stream, seq).await?.into_iter().collect())
    }

    /// Up to `limit` records from `from` to `to` (both inclusive) that match one of `filters` (empty: all), in order.
    /// Fewer than `limit` means that the range has no more. [`ReadError::Gap`] if TASKS no longer
    /// holds all of the range. From position 0 on, the range starts at the first message that is
    /// still stored.
    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError>;

    /// The last record whose subject matches `filter`. A filter of TASKS must not name a team, a
    /// queue, or an event other than `created`: the last frame that may hold a match need not hold
    /// one.
    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError>;

    /// First and last sequence now, from the stream's leader.
    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError>;

    /// How long a former leader of the stream may go on answering, and contradict what is already
    /// known. Zero for a stream with one replica.
    fn deposed_for(&self) -> Duration {
        Duration::ZERO
    }

    /// The failure of this process's last append to a stream, if it concerned the log as a whole.
    /// `None`: the last append was answered, or there was none. A log that can be read does not
    /// always take appends.
    fn last_append_failed(&self, _stream: Stream) -> Option<AppendFailure> {
        None
    }

    /// Drops the messages of TASKS before the one that holds `first`, and returns their number.
    /// CONTROL is kept for ever, so no method drops anything from it.
    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError>;
}

/// The first position of a stream that was stored at `time` or later; the one after `bounds.last`
/// if there is none. A binary search, since times grow with positions.
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
            // Retention drops the oldest records first, so the missing ones are older than those
            // left.
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
    /// Waits for at least one record and returns up to `max` of those that have arrived, in order.
    /// If the last of them belongs to a frame, the rest of the frame is returned too. Errors are
    /// temporary: call again.
    /// Cancellation safe: a dropped call loses no record.
    ///
    /// A [`ReadError::Gap`] reports once that retention has overtaken the reader, which then
    /// continues after the gap. To a tail with filters the server skips dropped messages like those
    /// that match no filter. Such a tail asks afterwards, at most once a second, whether the
    /// messages that it passed over are still there. So it may have returned later records before
    /// it reports the gap, whose reader begins anew with another tail; and it also reports dropped
    /// messages that no filter may have matched. Whoever must know at once compares the stream's
    /// first position after reading.
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError>;
}

/// A lease as of its last renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What is leased, such as `partition.3`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// The revision that the next renewal expects.
    pub revision: u64,
}

/// Why a lease could not be taken or kept.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LeaseError {
    /// Another holder has the lease, or it has expired.
    #[error("lease {name} is not held by us")]
    NotHeld { name: String },
    /// The lease store does not answer.
    #[error("the lease store is unavailable: {reason}")]
    Unavailable {
        /// What is wrong, for an operator.
        reason: String,
    },
}

/// Leases with a time to live, in a KV bucket. A lease only advises who should try to own a
/// partition; the fence in the log is what makes ownership safe.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// How long a lease lives without renewal.
    fn ttl(&self) -> Duration;
    /// Takes a lease that is free, or that this holder has already, since the answer to an earlier
    /// request may have been lost.
    async fn acquire(&self, name: &str, holder: &str) -> Result<Lease, LeaseError>;
    /// Extends a lease by its time to live from now.
    async fn renew(&self, lease: &Lease) -> Result<Lease, LeaseError>;
    /// Gives a lease back at once.
    async fn release(&self, lease: &Lease) -> Result<(), LeaseError>;
    /// All leases that are held now, as `(name, holder)`, sorted by name.
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
