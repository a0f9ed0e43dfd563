//! A log of tasks that no longer has what a worker has read of it, as after a restore from a
//! backup.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::TaskId;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::task::{Limits, TaskRequest, TaskSpec};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{
    Append, Atomicity, Expectation, Log, NewRecord, ReadError, Snapshots, Stream, StreamSeq,
};
use waybill_worker::attempt::Signer;
use waybill_worker::bulkhead::Caps;
use waybill_worker::callout::{CalloutConfig, Callouts};
use waybill_worker::calls::CallExecutor;
use waybill_worker::command::{CommandSource, Commands, ListenError};
use waybill_worker::partition::SnapshotPace;
use waybill_worker::payloads::Payloads;
use waybill_worker::takeover::{TakeOverError, Taken, seal, snapshot_name, take_over};
use waybill_worker::{Clock, RetentionConfig, SystemClock, Worker, WorkerConfig, WorkerParts};

use crate::rig::{PATIENCE, master, team};

const ONE: u16 = 1;

pub(crate) fn partition() -> Partition {
    Partition::new(0).expect("the only one")
}

/// Logs with the same creation time, so that they count as one stream.
pub(crate) fn log_of_a_day() -> MemoryLog {
    MemoryLog::new(
        Arc::new(|| Timestamp(1_795_245_100_000)),
        Duration::from_secs(6),
    )
}

/// A task that is not called during the test.
fn a_task(number: u128) -> TaskCreated {
    let now = SystemClock.now();
    let request = TaskRequest {
        target_url: Some("https://target.example/".into()),
        queue: Some("q".into()),
        delay_until: Some(now.plus(Duration::from_secs(3_000)).to_rfc3339()),
        ..TaskRequest::default()
    };
    let limits = Limits {
        max_wait: Duration::from_secs(30),
        max_delay: Duration::from_secs(3_600),
    };
    let spec = TaskSpec::check(request, &limits, now).expect("a valid request");
    spec.accept(TaskId::new(now, number, partition()), team(), None, now)
}

pub(crate) async fn create(log: &MemoryLog, number: u128) -> TaskId {
    let task = a_task(number);
    let (id, subject) = (
        task.id,
        TaskSubject::event(partition(), &task.team, &task.queue, CREATED).to_string(),
    );
    let event = TaskEvent::Created(Box::new(task));
    let append = Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject,
            event: event.name(),
            actor: Actor::System("test".into()).to_string(),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    };
    log.append(append).await.expect("stored");
    id
}

async fn taken_over(log: &MemoryLog) -> Taken {
    let payloads = Payloads::new(1_000_000);
    let taken = take_over(log, log, &payloads, &SystemClock, "a", partition(), None).await;
    taken.expect("taken over")
}

/// Snapshots of a log that another worker takes over, serves and gives back before the first of
/// them is read.
struct Overtaken(MemoryLog);

#[async_trait]
impl Snapshots for Overtaken {
    async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError> {
        self.0.put(name, value).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        create(&self.0, 7).await;
        write_snapshot(&self.0, taken_over(&self.0).await).await;
        self.0.get(name).await
    }
}

/// A worker that stands still in the middle of a takeover holds the lease again once it goes on, if
/// the owner in between has given it back. It must not wait behind its own fence for ever.
#[tokio::test]
async fn a_takeover_that_was_overtaken_meanwhile_ends() {
    let log = log_of_a_day();
    create(&log, 1).await;
    let (overtaken, payloads) = (Overtaken(log.clone()), Payloads::new(1_000_000));
    let taking = take_over(
        &log,
        &overtaken,
        &payloads,
        &SystemClock,
        "b",
        partition(),
        None,
    );
    let taken = tokio::time::timeout(PATIENCE, taking).await;
    let raced = taken.expect("it ends").err().expect("it is not the owner");
    assert!(matches!(raced, TakeOverError::Raced), "{raced}");
    assert_eq!(taken_over(&log).await.dispatcher.open(), 2);
}

/// The snapshot that an owner writes when it stops.
async fn write_snapshot(log: &MemoryLog, taken: Taken) {
    let state = taken.dispatcher.snapshot().expect("nothing is in flight");
    let position = taken.dispatcher.snapshot_position();
    let sealed = seal(log, taken.incarnation, position, &state).await;
    let name = snapshot_name(partition());
    log.put(&name, sealed.expect("sealed")).await.expect("kept");
}

#[tokio::test]
async fn a_snapshot_of_a_history_that_the_log_has_left_is_not_believed() {
    let log = log_of_a_day();
    let lost = create(&log, 1).await;
    write_snapshot(&log, taken_over(&log).await).await;
    // The control: for the log that it was made from, the snapshot is used.
    assert!(taken_over(&log).await.dispatcher.is_open(lost));

    // Restored to its beginning, and grown past the snapshot: other tasks are where the lost one
    // was.
    let restored = log_of_a_day();
    let mut there = Vec::new();
    for number in 2..9 {
        there.push(create(&restored, number).await);
    }
    let name = snapshot_name(partition());
    let snapshot = log.get(&name).await.expect("read").expect("there");
    restored.put(&name, snapshot).await.expect("kept");
    let dispatcher = taken_over(&restored).await.dispatcher;
    assert!(!dispatcher.is_open(lost), "it is of another history");
    for task in there {
        assert!(dispatcher.is_open(task), "{task} is in the log");
    }
}

struct NobodyAsks;

#[async_trait]
impl CommandSource for NobodyAsks {
    async fn listen(&self, _: Partition) -> Result<Commands, ListenError> {
        let (_, queue) = mpsc::channel(1);
        Ok(Commands::new(queue))
    }

    async fn ask(&self, _: Partition, _: OwnerRequest) -> Option<OwnerReply> {
        None
    }
}

fn worker(log: &MemoryLog, stop: &CancellationToken) -> Worker {
    let executor = CallExecutor {
        log: Arc::new(log.clone()),
        target: Arc::new(Callouts::new(CalloutConfig::default()).expect("valid")),
        signer: Signer::new(master()),
        payloads: Payloads::new(1_000_000),
        clock: Arc::new(SystemClock),
        vault: None,
        captures: None,
    };
    let parts = WorkerParts {
        executor: Arc::new(executor),
        leases: Arc::new(log.clone()),
        snapshots: Arc::new(log.clone()),
        commands: Arc::new(NobodyAsks),
        vault: None,
        queues: None,
        pressure: None,
    };
    let config = WorkerConfig {
        name: "a".into(),
        partitions: PartitionCount::new(ONE).expect("one"),
        retention: RetentionConfig::default(),
        slots: 8,
        caps: Caps::default(),
        drain: Duration::from_secs(1),
    };
    Worker::start_with(config, parts, SnapshotPace::default(), stop.clone())
}

/// Open tasks that the worker knows of.
async fn until_it_owes(worker: &Worker, tasks: u64) {
    let owes = async {
        loop {
            let owed = worker.board().owed();
            let open: u64 = owed.partitions.iter().map(|(_, owed)| owed.tasks).sum();
            if open == tasks {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // The clock is paused, so this takes no time.
    let owes = tokio::time::timeout(Duration::from_secs(120), owes);
    owes.await.unwrap_or_else(|_| panic!("never {tasks} tasks"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_log_loses_its_end_begins_anew_from_what_is_left() {
    let (log, stop) = (log_of_a_day(), CancellationToken::new());
    let worker = worker(&log, &stop);
    create(&log, 1).await;
    until_it_owes(&worker, 1).await;
    let kept = log.bounds(Stream::Tasks).await.expect("bounds").last;
    for number in 2..6 {
        create(&log, number).await;
    }
    until_it_owes(&worker, 5).await;
    // Four tasks are lost, and one more is created before the position that the owner has read up
    // to: without a check of the log, it would be neither seen nor run.
    let count = usize::try_from(kept.0).expect("few");
    log.core().cut(Stream::Tasks, count);
    create(&log, 6).await;
    until_it_owes(&worker, 2).await;
    let fence = log.bounds(Stream::Tasks).await.expect("bounds").last;
    assert!(fence > StreamSeq(kept.0 + 1), "it was taken over again");
    stop.cancel();
    worker.stopped().await;
}
