//! Takes over a partition: from a lease to an active dispatcher, by a fence in the log and a replay
//! up to it.
//!
//! The fence is the sequence of this worker's own `partition.owned`. Every append of an owner
//! expects that this is the last one of its kind. So the server refuses everything that a former
//! owner sends after the fence, and everything it sent before is stored before the fence and is
//! replayed. Nothing can be stored in between.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;
use waybill_domain::actor::Actor;
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::event::{PartitionOwned, TaskEvent};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::subject::{TaskFilter, TaskSubject};
use waybill_log::{
    Append, AppendError, Atomicity, Bounds, Expectation, Fingerprint, Log, NewRecord, ReadError,
    Record, Snapshots, Stream, StreamSeq, Tail, TaskRecord, Unreadable, set_aside, stands_in,
    task_record,
};

use crate::clock::Clock;
use crate::payloads::Payloads;

/// Limit of the records that a replay reads at once.
const REPLAY_BATCH: usize = 1_000;

/// Limit of the fences that are read between two of this worker's own.
const MAX_BETWEEN: usize = 1_000;

/// A partition that was taken over, ready to be activated.
pub struct Taken {
    /// Its state up to the fence.
    pub dispatcher: Dispatcher,
    /// Sequence that every append expects as the last of `partition.owned`.
    pub fence: StreamSeq,
    /// Whether another worker has owned it since this process last did.
    pub between: Between,
    /// Creations after the fence.
    pub tail: Box<dyn Tail>,
    /// Incarnation of the log that the state was read from.
    pub incarnation: i64,
    /// The partition's low-water mark, as a former owner stored it.
    pub mark: Option<StreamSeq>,
    /// What it took.
    pub cost: Cost,
}

/// What a takeover took, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// For the fence, and for reading the snapshot.
    pub snapshot: Duration,
    /// For everything behind the snapshot.
    pub replay: Duration,
    /// Events behind the snapshot.
    pub replayed: usize,
}

/// Who owned a partition between two ownerships of this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// No other worker, so everything stored since is this worker's own.
    Nobody,
    /// Another worker, or it is not known.
    Another,
}

/// Why a partition could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Another worker took it over at the same time.
    #[error("another worker is taking over")]
    Raced,
    /// The fence could not be appended. A later attempt may succeed.
    #[error(transparent)]
    Append(AppendError),
    /// The log could not be read. A later attempt may succeed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A newer build wrote an event that this one does not understand, and must not ignore.
    #[error("{seq}: {why}")]
    TooNew { seq: StreamSeq, why: Unreadable },
}

/// Bytes of the fingerprint of a record.
const FINGERPRINT_BYTES: usize = 16;
/// Bytes before the state in a snapshot: the incarnation of the log, and the fingerprint of the
/// record at the snapshot's position.
pub const SNAPSHOT_HEADER_BYTES: usize = 8 + FINGERPRINT_BYTES;
/// Fingerprint of a position without a record: the log was empty, or retention has dropped the
/// record.
const NOTHING_STANDS: [u8; FINGERPRINT_BYTES] = [0; FINGERPRINT_BYTES];

/// Name of a partition's snapshot.
#[must_use]
pub fn snapshot_name(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// Encodes a snapshot with the incarnation of the log and the fingerprint of the record at its
/// position, so that it is not used after a restore of the log.
pub async fn seal(
    log: &dyn Log,
    incarnation: i64,
    position: StreamSeq,
    state: &[u8],
) -> Result<Bytes, ReadError> {
    let stands = log.read(Stream::Tasks, position).await?;
    let fingerprint = stands.map_or(NOTHING_STANDS, |record| Fingerprint::of(&record).to_bytes());
    Ok([&incarnation.to_be_bytes()[..], &fingerprint, state]
        .concat()
        .into())
}

/// Takes over a partition, whose lease the caller holds. `since` is this worker's last fence, if it
/// had one.
pub async fn take_over(
    log: &dyn Log,
    snapshots: &dyn Snapshots,
    payloads: &Payloads,
    clock: &dyn Clock,
    worker: &str,
    partition: Partition,
    since: Option<StreamSeq>,
) -> Result<Taken, TakeOverError> {
    let begun = Instant::now();
    let (fence, mark) = fence(log, clock, worker, partition).await?;
    let between = match since {
        Some(since) => between(log, worker, partition, since, fence).await?,
        None => Between::Another,
    };
    let bounds = log.bounds(Stream::Tasks).await?;
    // Nothing before the mark is needed, and nothing after it is purged while this fence holds.
    let begin = mark.unwrap_or_default().max(bounds.first);
    let mut dispatcher = restored(log, snapshots, partition, &bounds, fence).await?;
    if dispatcher.position().next() < begin {
        // Tasks in that state may have ended in a part of the log that is already purged.
        dispatcher = Dispatcher::new();
        dispatcher.replayed_to(StreamSeq(begin.0.saturating_sub(1)));
    }
    // Only a later owner can have moved the mark beyond this fence, while this worker stood still.
    // Nothing would ever come for a replay that begins behind its own end.
    if dispatcher.position() >= fence {
        return Err(TakeOverError::Raced);
    }
    let restored = Instant::now();
    let mut replayed = 0;
    let from = dispatcher.position().next();
    let filter = TaskFilter::partition(partition).to_string();
    let mut tail = log.tail(Stream::Tasks, vec![filter], from);
    'replay: loop {
        for record in tail.next_batch(REPLAY_BATCH).await? {
            let seq = record.seq;
            if seq <= fence {
                apply(&mut dispatcher, payloads, &record)?;
                replayed += 1;
            }
            if seq >= fence {
                break 'replay;
            }
        }
    }
    // A tail with a filter reports dropped records only some time later. A purge that began before this fence, up
    // to a mark that this owner does not know, may have dropped the ends of tasks whose creations
    // were read.
    let first = log.bounds(Stream::Tasks).await?.first;
    if first > from {
        let stream = Stream::Tasks.name();
        return Err(ReadError::Gap {
            stream,
            from,
            first,
        }
        .into());
    }
    dispatcher.replayed_to(fence);
    let created = TaskFilter::created(partition).to_string();
    let tail = log.tail(Stream::Tasks, vec![created], fence.next());
    Ok(Taken {
        dispatcher,
        fence,
        between,
        tail,
        incarnation: bounds.incarnation,
        mark,
        cost: Cost {
            snapshot: restored - begun,
            replay: restored.elapsed(),
            replayed,
        },
    })
}

/// Applies a record of the partition to its dispatcher, or sets it aside if it does not count.
pub fn apply(
    dispatcher: &mut Dispatcher,
    payloads: &Payloads,
    record: &Record,
) -> Result<(), TakeOverError> {
    let counts = task_record(record).and_then(|read| match read {
        TaskRecord::Event(event) => match dispatcher.place_of(event.id()) {
            Some((team, queue)) => {
                stands_in(record, team.as_str(), queue.as_str())?;
                Ok(Some(event))
            }
            None => Ok(Some(event)),
        },
        TaskRecord::Owned(..) => Ok(None),
    });
    match counts {
        Ok(Some(event)) => {
            dispatcher.apply(record.seq, record.traceparent.as_deref(), &event);
            if matches!(event, TaskEvent::Created(_)) && dispatcher.is_open(event.id()) {
                payloads.put(record.seq, &record.payload);
            }
        }
        Ok(None) => {}
        // Ignoring the event could violate what it means, so the partition is left to a worker of a
        // newer build.
        Err(why @ Unreadable::Newer { .. }) => {
            return Err(TakeOverError::TooNew {
                seq: record.seq,
                why,
            });
        }
        Err(poison) => set_aside("owner", Stream::Tasks, record, &poison),
    }
    // Marks the position as read even if the record does not count, so that nothing waits for it.
    dispatcher.replayed_to(record.seq);
    Ok(())
}

/// Checks who has owned the partition between two fences of this worker. There may be further
/// fences of its own, whose answers were lost.
async fn between(
    log: &dyn Log,
    worker: &str,
    partition: Partition,
    since: StreamSeq,
    fence: StreamSeq,
) -> Result<Between, TakeOverError> {
    let owners = [TaskSubject::owner(partition).to_string()];
    let fences = log
        .range(Stream::Tasks, &owners, since, fence, MAX_BETWEEN)
        .await;
    let fences = match fences {
        // A fence is dropped only after the next one is stored, so there was one in between; its
        // owner is unknown.
        Err(ReadError::Gap { .. }) => return Ok(Between::Another),
        fences => fences?,
    };
    let ours = |record: &Record| {
        PartitionOwned::decode(&record.payload).is_ok_and(|owned| owned.worker == worker)
    };
    // The list is complete if it begins with one fence and ends with the other.
    let complete = fences.first().map(|record| record.seq) == Some(since)
        && fences.last().map(|record| record.seq) == Some(fence);
    Ok(if complete && fences.iter().all(ours) {
        Between::Nobody
    } else {
        Between::Another
    })
}

/// Appends a new fence, and returns it with the low-water mark that it takes over from the last
/// one.
async fn fence(
    log: &dyn Log,
    clock: &dyn Clock,
    worker: &str,
    partition: Partition,
) -> Result<(StreamSeq, Option<StreamSeq>), TakeOverError> {
    let subject = TaskSubject::owner(partition).to_string();
    let last = log.last(Stream::Tasks, &subject).await?;
    let mark = last
        .as_ref()
        .and_then(|record| PartitionOwned::decode(&record.payload).ok()?.mark);
    let last = last.map_or(StreamSeq(0), |record| record.seq);
    let append = owned(partition, worker, clock.now(), mark, last);
    match log.append(append).await {
        Ok(appended) => Ok((appended.seqs.first().copied().unwrap_or_default(), mark)),
        Err(AppendError::Conflict { .. }) => Err(TakeOverError::Raced),
        // If it was stored all the same, it is this worker's own fence, and the next attempt comes
        // after it.
        Err(error) => Err(TakeOverError::Append(error)),
    }
}

/// Builds the append of a fence with its mark. It expects `last` to be the previous fence.
pub(crate) fn owned(
    partition: Partition,
    worker: &str,
    at: Timestamp,
    mark: Option<StreamSeq>,
    last: StreamSeq,
) -> Append {
    let subject = TaskSubject::owner(partition).to_string();
    let owned = PartitionOwned {
        worker: worker.into(),
        at,
        mark,
    };
    Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject: subject.clone(),
            event: PartitionOwned::NAME,
            actor: Actor::worker().to_string(),
            traceparent: None,
            origin: None,
            payload: owned.encode().into(),
        }],
        expect: Expectation::LastOn {
            filter: subject,
            seq: last,
        },
        atomicity: Atomicity::Atomic,
        msg_id: None,
    }
}

/// Whether the log still has the record at the snapshot's position that it had when the snapshot
/// was written. In doubt the answer is no, since a replay only costs time.
async fn still_stands(
    log: &dyn Log,
    bounds: &Bounds,
    position: StreamSeq,
    fingerprint: [u8; FINGERPRINT_BYTES],
) -> bool {
    if position > bounds.last {
        return false;
    }
    if fingerprint == NOTHING_STANDS || position < bounds.first {
        // There is nothing to compare, since retention has dropped the record. The caller checks
        // whether the snapshot is too old.
        return true;
    }
    match log.read(Stream::Tasks, position).await {
        Ok(Some(record)) => Fingerprint::of(&record).to_bytes() == fingerprint,
        Ok(None) | Err(_) => false,
    }
}

/// The copies that a worker has of the logs: snapshots of partitions, partitions in memory, tokens
/// of the vault, rotations of signing secrets, and rules of queues.
const COPIES: [&str; 5] = ["snapshot", "owner", "vault", "signing", "queues"];

/// Exports zeros from the start on, so that alerts can distinguish a healthy worker from one that
/// is not running.
pub(crate) fn nothing_went_backwards() {
    for copy in COPIES {
        metrics::gauge!("waybill_log_went_backwards", "copy" => copy).set(0.0);
    }
}

/// Counts that the log does not hold what a copy was made from. The gauge stays set until the
/// process ends; the copy is rebuilt.
pub(crate) fn went_backwards(copy: &'static str) {
    debug_assert!(COPIES.contains(&copy));
    metrics::gauge!("waybill_log_went_backwards", "copy" => copy).set(1.0);
    metrics::counter!("waybill_log_went_backwards_total", "copy" => copy).increment(1);
}

/// Does something that takes long while other tasks run on: the snapshots of the other partitions
/// arrive meanwhile, and the gateway of the same process answers. A runtime of one thread has no
/// other one for that.
fn aside<T>(long: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(long),
        _ => long(),
    }
}

/// The state in the partition's snapshot, or an empty state if there is no readable snapshot of
/// this log.
async fn restored(
    log: &dyn Log,
    snapshots: &dyn Snapshots,
    partition: Partition,
    bounds: &Bounds,
    fence: StreamSeq,
) -> Result<Dispatcher, TakeOverError> {
    let bytes = match snapshots.get(&snapshot_name(partition)).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Dispatcher::new()),
        Err(error) => {
            tracing::warn!(%partition, %error, "reading the snapshot failed; replaying from the start");
            return Ok(Dispatcher::new());
        }
    };
    let Some((of, state)) = bytes.split_first_chunk::<8>() else {
        return Ok(Dispatcher::new());
    };
    let Some((fingerprint, state)) = state.split_first_chunk() else {
        return Ok(Dispatcher::new());
    };
    if i64::from_be_bytes(*of) != bounds.incarnation {
        tracing::info!(%partition, "the snapshot is of another log; replaying from the start");
        return Ok(Dispatcher::new());
    }
    let dispatcher = match aside(|| Dispatcher::restore(state)) {
        Ok(dispatcher) => dispatcher,
        Err(error) => {
            tracing::info!(%partition, %error, "the snapshot cannot be read; replaying from the start");
            return Ok(Dispatcher::new());
        }
    };
    // What a later owner wrote, while this worker stood still, may lie behind the end that this one
    // knows.
    let position = dispatcher.position();
    let later = match position > bounds.last {
        true => Some(log.bounds(Stream::Tasks).await?),
        false => None,
    };
    let bounds = later.as_ref().unwrap_or(bounds);
    if !still_stands(log, bounds, position, *fingerprint).await {
        went_backwards("snapshot");
        tracing::error!(
            %partition,
            "the log does not hold what the snapshot was made from, as after a restore from a backup; replaying from the start"
        );
        return Ok(Dispatcher::new());
    }
    if position >= fence {
        return Err(TakeOverError::Raced);
    }
    Ok(dispatcher)
}
