//! Retention on a real server: the log is purged under open tasks, and they end as if it were not.

use std::collections::BTreeMap;
use std::time::Duration;

use waybill_domain::event::PartitionOwned;
use waybill_domain::id::TaskId;
use waybill_domain::partition::Partition;
use waybill_domain::task::TaskRequest;
use waybill_log::subject::TaskSubject;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::eventually;
use waybill_worker::{Clock, RetentionConfig, SystemClock};

use crate::rig::{PATIENCE, Rig, partitions};

/// Everything that is not needed is purged at once.
const NO_HISTORY: RetentionConfig = RetentionConfig {
    age: Duration::from_millis(200),
    min_history: Duration::ZERO,
};

impl Rig {
    async fn first(&self) -> StreamSeq {
        let bounds = self.log.bounds(Stream::Tasks).await;
        bounds.expect("the log can be read").first
    }

    /// Waits until everything before a position is purged.
    async fn until_purged(&self, position: StreamSeq) {
        eventually(PATIENCE, async || self.first().await > position)
            .await
            .expect("the log is purged");
    }

    async fn last(&self) -> StreamSeq {
        let bounds = self.log.bounds(Stream::Tasks).await;
        bounds.expect("the log can be read").last
    }

    /// Waits until the target or webhook at a path was called `count` times.
    async fn until_called(&self, path: &str, times: usize) {
        eventually(PATIENCE, async || self.called(path) >= times)
            .await
            .unwrap_or_else(|error| {
                panic!("{path} was called {} times: {error}", self.called(path))
            });
    }

    fn called(&self, path: &str) -> usize {
        let received = self.sink.received();
        received.iter().filter(|call| call.path == path).count()
    }

    async fn mark(&self, partition: Partition) -> Option<StreamSeq> {
        let subject = TaskSubject::owner(partition).to_string();
        let record = self.log.last(Stream::Tasks, &subject).await;
        let record = record.expect("the log can be read")?;
        PartitionOwned::decode(&record.payload)
            .expect("a fence")
            .mark
    }
}

fn later(task: &mut TaskRequest, by: Duration) {
    task.delay_until = Some(SystemClock.now().plus(by).to_rfc3339());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_task_far_older_than_the_log_runs_once_to_its_end_with_its_webhook() {
    let mut rig = Rig::new().await;
    rig.retention = NO_HISTORY;
    let worker = rig.worker("only").await;
    let hook = rig.sink.url("/status/204");
    rig.create("/status/200", |task| {
        later(task, Duration::from_secs(4));
        task.on_complete_url = Some(hook);
    })
    .await;
    let created = rig.last().await;
    rig.until_purged(created).await;
    // It is restated again and again, as long as it is open.
    let restated = rig.last().await;
    rig.until_purged(restated).await;
    rig.until_called("/status/200", 1).await;
    rig.until_called("/status/204", 1).await;
    let ended = rig.last().await;
    rig.until_purged(ended).await;
    assert_eq!(
        (rig.called("/status/200"), rig.called("/status/204")),
        (1, 1)
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_leaves_a_snapshot_older_than_the_log_and_no_task_is_lost() {
    let mut rig = Rig::new().await;
    let tasks = 40;
    let hook = rig.sink.url("/status/204");
    for _ in 0..tasks {
        rig.create("/status/200", |task| {
            later(task, Duration::from_secs(6));
            task.on_complete_url = Some(hook.clone());
        })
        .await;
    }
    let first = rig.worker("first").await;
    let all = usize::from(partitions().get());
    rig.until_shares(&[&first], &[all]).await;
    // It writes a snapshot of every partition when it stops.
    first.stop().await;
    let snapshot = rig.last().await;
    rig.retention = NO_HISTORY;
    let second = rig.worker("second").await;
    rig.until_purged(snapshot).await;
    second.dies();
    // The snapshots end before the beginning of the log, so the next owner begins at the marks.
    let third = rig.worker("third").await;
    rig.until_called("/status/200", tasks).await;
    rig.until_called("/status/204", tasks).await;
    let ended = rig.last().await;
    rig.until_purged(ended).await;
    let mut calls: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for call in rig.sink.received() {
        *calls.entry(call.task_id.clone()).or_default() += 1;
    }
    assert_eq!(calls.len(), tasks, "each task");
    assert!(
        calls.values().all(|&count| count == 2),
        "once, and its webhook"
    );
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retention_shorter_than_the_work_loses_no_task_while_owners_change() {
    let mut rig = Rig::new().await;
    rig.retention = NO_HISTORY;
    let mut workers = vec![rig.worker("w0").await, rig.worker("w1").await];
    let mut made: Vec<TaskId> = Vec::new();
    for round in 0..6 {
        for number in 0..40_u64 {
            let path =
                ["/status/200", "/script/503,200?retryAfter=1"][usize::from(number % 4 == 0)];
            made.push(
                rig.create(path, |task| {
                    task.queue = Some(format!("queue-{}", number % 11));
                    if number % 3 == 0 {
                        later(task, Duration::from_millis(50 * number));
                    }
                })
                .await,
            );
        }
        // An owner crashes, and another one takes over while the log is being purged.
        workers.remove(0).dies();
        workers.push(rig.worker(&format!("w{}", round + 2)).await);
    }
    let wanted = made.len();
    let succeeded = || {
        let received = rig.sink.received();
        let ids = received.iter().filter(|call| call.status == 200);
        let ids: std::collections::BTreeSet<_> =
            ids.filter_map(|call| call.task_id.clone()).collect();
        ids.len()
    };
    eventually(PATIENCE * 3, async || succeeded() == wanted)
        .await
        .unwrap_or_else(|error| panic!("{} of {wanted} came to an end: {error}", succeeded()));
    let ended = rig.last().await;
    rig.until_purged(ended).await;
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_an_owner_keeps_its_mark_and_holds_the_log() {
    let mut rig = Rig::new().await;
    rig.create("/status/200", |task| {
        later(task, Duration::from_secs(3_000));
    })
    .await;
    let created = rig.last().await;
    // Partitions that never had an owner have no mark, so nothing is purged, whatever its age.
    assert_eq!(rig.mark(Partition::default()).await, None);
    rig.retention = NO_HISTORY;
    let worker = rig.worker("only").await;
    rig.until_purged(created).await;
    worker.dies();
    let held = rig.first().await;
    for partition in partitions().all() {
        let mark = rig.mark(partition).await.expect("a mark");
        assert!(mark >= held, "{partition}: {mark} is dropped up to {held}");
    }
}

/// Calls that end at about the same time, of one partition.
const AT_ONCE: usize = 100;
/// Room for a few ends, and for far fewer than are to be stored at once.
const FEW_ENDS: u64 = 4_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_uses_the_last_bytes_of_the_log_for_what_still_fits() {
    const LENGTH: Duration = Duration::from_secs(2);
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    for _ in 0..AT_ONCE {
        rig.create("/delay/2s", |_| {}).await;
    }
    rig.until_called("/delay/2s", AT_ONCE).await;
    let bytes = async || {
        let bounds = rig.log.bounds(Stream::Tasks).await;
        bounds.expect("the log can be read").bytes
    };
    // Not one end fits.
    let used = bytes().await;
    rig.log.lower_tasks(used).await.expect("it can be limited");
    // Not a wait for anything to happen: the time that the calls take, after which all of their ends wait to be stored.
    tokio::time::sleep(LENGTH).await;
    let before = bytes().await;
    rig.log
        .lower_tasks(before + FEW_ENDS)
        .await
        .expect("it can be limited");
    eventually(PATIENCE, async || bytes().await > before + FEW_ENDS / 2)
        .await
        .expect("what fits is stored");
    rig.log
        .raise(Stream::Tasks.name(), 1 << 30)
        .await
        .expect("it can be raised");
    let until_drained = eventually(PATIENCE, async || {
        let last = rig.last().await;
        let records = rig
            .log
            .range(Stream::Tasks, &[], StreamSeq(1), last, usize::MAX)
            .await
            .expect("the log can be read");
        let ends = records
            .iter()
            .filter(|record| record.event.contains("succeeded"));
        ends.count() == AT_ONCE
    });
    until_drained.await.expect("every task ends");
    assert_eq!(rig.called("/delay/2s"), AT_ONCE, "once each");
    worker.stop().await;
}
