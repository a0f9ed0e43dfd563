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
    Append, AppendError, Atomicity, Expectation, Log, NewRecord, ReadError, Record, Snapshots,
    Stream, StreamSeq, Tail, TaskRecord, Unreadable, set_aside, stands_in, task_record,
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

/// Who owned a partition between two times of this worker.
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
    /// The log is away. Worth another try.
    #[error(transparent)]
    Append(AppendError),
    /// The log is away. Worth another try.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A newer Waybill wrote something that this one does not understand: to ignore it could break what it means.
    #[error("{seq}: {source}")]
    TooNew {
        /// Where.
        seq: StreamSeq,
        /// What.
        source: Unreadable,
    },
}

/// Name of a partition's snapshot.
#[must_use]
pub fn snapshot_name(partition: Partition) -> String {
    format!("partition.{partition}")
}

/// A snapshot and the log it is of.
#[must_use]
pub fn seal(incarnation: i64, state: &[u8]) -> Bytes {
    let mut bytes = incarnation.to_be_bytes().to_vec();
    bytes.extend_from_slice(state);
    bytes.into()
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
    let mut dispatcher = restored(snapshots, partition, bounds.incarnation, bounds.last).await;
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
                apply(&mut dispatcher, payloads, record)?;
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
    record: Record,
) -> Result<(), TakeOverError> {
    let counts = task_record(&record).and_then(|read| match read {
        TaskRecord::Event(event) => match dispatcher.place_of(event.id()) {
            Some((team, queue)) => {
                stands_in(&record, team.as_str(), queue.as_str())?;
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
                payloads.put(record.seq, record.payload);
            }
        }
        Ok(None) => {}
        // To go on without it could break what it means, so the partition is left to a worker that knows it.
        Err(source @ Unreadable::Newer { .. }) => {
            return Err(TakeOverError::TooNew {
                seq: record.seq,
                source,
            });
        }
        Err(poison) => set_aside("owner", Stream::Tasks, &record, &poison),
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
        // A fence is not dropped before the next one is there, so there was one; whose it was, nobody knows any more.
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

/// The partition's snapshot, if there is one of this log that can be read.
async fn restored(
    snapshots: &dyn Snapshots,
    partition: Partition,
    incarnation: i64,
    last: StreamSeq,
) -> Dispatcher {
    let bytes = match snapshots.get(&snapshot_name(partition)).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Dispatcher::new(),
        Err(error) => {
            tracing::warn!(%partition, %error, "no snapshot; replaying from the start");
            return Dispatcher::new();
        }
    };
    let Some((of, state)) = bytes.split_first_chunk::<8>() else {
        return Dispatcher::new();
    };
    if i64::from_be_bytes(*of) != incarnation {
        tracing::info!(%partition, "the snapshot is of another log; replaying from the start");
        return Dispatcher::new();
    }
    match Dispatcher::restore(state) {
        Ok(dispatcher) if dispatcher.position() <= last => dispatcher,
        Ok(_) => {
            tracing::warn!(%partition, "the snapshot is ahead of the log; replaying from the start");
            Dispatcher::new()
        }
        Err(error) => {
            tracing::info!(%partition, %error, "replaying from the start");
            Dispatcher::new()
        }
    }
}
