//! From a lease to an active dispatcher: a fence in the log, then a replay up to it.
//!
//! The fence is the sequence of our own `partition.owned`. Every append of an owner expects it to be the last of its kind, so
//! whatever a former owner still sends after it is refused by the server, and whatever it had sent before stands before the
//! fence and is replayed. Nothing can come in between.

use bytes::Bytes;
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

/// Records read at once while replaying.
const REPLAY_BATCH: usize = 1_000;

/// Fences between two of our own that are looked at.
const MAX_BETWEEN: usize = 1_000;

/// A partition taken over, ready to be activated.
pub struct Taken {
    /// Its state up to the fence.
    pub dispatcher: Dispatcher,
    /// What every append must expect.
    pub fence: StreamSeq,
    /// Whether somebody else had it since this process had it.
    pub between: Between,
    /// New tasks from behind the fence on.
    pub tail: Box<dyn Tail>,
    /// Which incarnation of the log the state is of.
    pub incarnation: i64,
    /// The partition's low-water mark, as a former owner stored it.
    pub mark: Option<StreamSeq>,
}

/// Who owned a partition between two ownerships of this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// Nobody else: whatever was stored since is our own.
    Nobody,
    /// Another worker, or nobody knows.
    Another,
}

/// Why a partition could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// Another worker took it over at the same time.
    #[error("another worker is taking over")]
    Raced,
    /// The log does not answer. It is worth another try.
    #[error(transparent)]
    Append(AppendError),
    /// The log does not answer. It is worth another try.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A newer Waybill wrote something that this one does not understand: to ignore it could break what it means.
    #[error("{seq}: {why}")]
    TooNew { seq: StreamSeq, why: Unreadable },
}

/// Bytes of the fingerprint of a record.
const FINGERPRINT_BYTES: usize = 16;
/// Bytes that stand before the state in a snapshot: the log's incarnation, and what stands at the snapshot's position.
pub const SNAPSHOT_HEADER_BYTES: usize = 8 + FINGERPRINT_BYTES;
/// Stands for the fingerprint of a position at which there is no record: the snapshot is of an empty log, or retention was faster.
const NOTHING_STANDS: [u8; FINGERPRINT_BYTES] = [0; FINGERPRINT_BYTES];

/// Name of a partition's snapshot.
#[must_use]
pub fn snapshot_name(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// A snapshot, the log it is of, and what stands there at its position, so that it is not believed after a restore of the log.
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

/// Takes a partition over. The caller holds its lease. `since`: the fence it had before, if it had one.
pub async fn take_over(
    log: &dyn Log,
    snapshots: &dyn Snapshots,
    payloads: &Payloads,
    clock: &dyn Clock,
    worker: &str,
    partition: Partition,
    since: Option<StreamSeq>,
) -> Result<Taken, TakeOverError> {
    let (fence, mark) = fence(log, clock, worker, partition).await?;
    let between = match since {
        Some(since) => between(log, worker, partition, since, fence).await?,
        None => Between::Another,
    };
    let bounds = log.bounds(Stream::Tasks).await?;
    // Nothing before the mark is needed, and nothing behind it is dropped while this fence holds.
    let begin = mark.unwrap_or_default().max(bounds.first);
    let mut dispatcher = restored(log, snapshots, partition, &bounds).await;
    if dispatcher.position().next() < begin {
        // Tasks of that state may have ended since, in what the log no longer holds.
        dispatcher = Dispatcher::new();
        dispatcher.replayed_to(StreamSeq(begin.0.saturating_sub(1)));
    }
    let from = dispatcher.position().next();
    let filter = TaskFilter::partition(partition).to_string();
    let mut tail = log.tail(Stream::Tasks, vec![filter], from);
    'replay: loop {
        for record in tail.next_batch(REPLAY_BATCH).await? {
            let seq = record.seq;
            if seq <= fence {
                apply(&mut dispatcher, payloads, &record)?;
            }
            if seq >= fence {
                break 'replay;
            }
        }
    }
    // A tail with a filter passes over what was dropped under it. A purge that began before this fence was there, by a mark that this
    // owner does not know, may have taken ends of tasks whose creations were read.
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
    })
}

/// Passes a record of the partition on to its dispatcher; one that does not count is set aside.
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
        // To go on without it could break what it means, so the partition is left to a worker that knows it.
        Err(why @ Unreadable::Newer { .. }) => {
            return Err(TakeOverError::TooNew {
                seq: record.seq,
                why,
            });
        }
        Err(poison) => set_aside("owner", Stream::Tasks, record, &poison),
    }
    // Whoever waits for what stands here has nothing more to wait for.
    dispatcher.replayed_to(record.seq);
    Ok(())
}

/// Looks at the fences between two of our own. There may be more of ours: those whose answers got lost.
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
        // A fence is not dropped before the next one is there, so there was one; whose it was is unknown.
        Err(ReadError::Gap { .. }) => return Ok(Between::Another),
        fences => fences?,
    };
    let ours = |record: &Record| {
        PartitionOwned::decode(&record.payload).is_ok_and(|owned| owned.worker == worker)
    };
    // All of them, from the one to the other.
    let complete = fences.first().map(|record| record.seq) == Some(since)
        && fences.last().map(|record| record.seq) == Some(fence);
    Ok(if complete && fences.iter().all(ours) {
        Between::Nobody
    } else {
        Between::Another
    })
}

/// A new fence, and the mark that goes on with it.
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
        // Should it have been stored, it is our own, and the next try stands behind it.
        Err(error) => Err(TakeOverError::Append(error)),
    }
}

/// The append of a fence with its mark, which expects that `last` is the fence before it.
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

/// Whether the log holds at the position of a snapshot what stood there when it was written. In doubt it does not: a replay costs time.
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
        // Nothing to compare: retention has taken it. Whether the snapshot is too old is the caller's question.
        return true;
    }
    match log.read(Stream::Tasks, position).await {
        Ok(Some(record)) => Fingerprint::of(&record).to_bytes() == fingerprint,
        Ok(None) | Err(_) => false,
    }
}

/// What a worker keeps of the logs: snapshots of partitions, partitions in memory, tokens of the vault, rotations of secrets that sign.
const COPIES: [&str; 4] = ["snapshot", "owner", "vault", "signing"];

/// Exports from the start that no copy of this worker was of another log, so that an alert can tell a worker that is well from one that
/// is not there.
pub(crate) fn nothing_went_backwards() {
    for copy in COPIES {
        metrics::gauge!("waybill_log_went_backwards", "copy" => copy).set(0.0);
    }
}

/// A log does not hold what that copy was made from. Told until the process ends; the copy is made anew.
pub(crate) fn went_backwards(copy: &'static str) {
    debug_assert!(COPIES.contains(&copy));
    metrics::gauge!("waybill_log_went_backwards", "copy" => copy).set(1.0);
    metrics::counter!("waybill_log_went_backwards_total", "copy" => copy).increment(1);
}

/// The partition's snapshot, if there is one of this log that can be read.
async fn restored(
    log: &dyn Log,
    snapshots: &dyn Snapshots,
    partition: Partition,
    bounds: &Bounds,
) -> Dispatcher {
    let bytes = match snapshots.get(&snapshot_name(partition)).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Dispatcher::new(),
        Err(error) => {
            tracing::warn!(%partition, %error, "reading the snapshot failed; replaying from the start");
            return Dispatcher::new();
        }
    };
    let Some((of, state)) = bytes.split_first_chunk::<8>() else {
        return Dispatcher::new();
    };
    let Some((fingerprint, state)) = state.split_first_chunk() else {
        return Dispatcher::new();
    };
    if i64::from_be_bytes(*of) != bounds.incarnation {
        tracing::info!(%partition, "the snapshot is of another log; replaying from the start");
        return Dispatcher::new();
    }
    match Dispatcher::restore(state) {
        Ok(dispatcher) if still_stands(log, bounds, dispatcher.position(), *fingerprint).await => {
            dispatcher
        }
        Ok(_) => {
            went_backwards("snapshot");
            tracing::error!(
                %partition,
                "the log does not hold what the snapshot was made from, as after a restore from a backup; replaying from the start"
            );
            Dispatcher::new()
        }
        Err(error) => {
            tracing::info!(%partition, %error, "replaying from the start");
            Dispatcher::new()
        }
    }
}
