//! Ownership of partitions on a real server: workers die, freeze, join and leave, and the server
//! itself restarts.

use std::time::{Duration, Instant};

use waybill_domain::actor::Actor;
use waybill_domain::command::OwnerReply;
use waybill_domain::dispatcher::Dispatcher;
use waybill_domain::event::{FailureKind, TaskCancelled, TaskEvent};
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::partition::Partition;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, AppendError, Atomicity, Expectation, Leases, Log, NewRecord, Snapshots, Stream,
    StreamSeq,
};
use waybill_testkit::{Proxy, eventually};
use waybill_worker::partition::SnapshotPace;
use waybill_worker::takeover::{SNAPSHOT_HEADER_BYTES, snapshot_name};
use waybill_worker::{Clock, SystemClock};

use crate::rig::{LEASE_TTL, PARTITIONS, PATIENCE, Rig, partitions, queue_in_each_partition, team};

const ALL: usize = PARTITIONS as usize;

#[tokio::test]
async fn a_second_worker_takes_over_when_the_first_dies() {
    let rig = Rig::new().await;
    let first = rig.worker("first").await;
    rig.until_shares(&[&first], &[ALL]).await;
    let slow = rig.create("/delay/30s", |_| {}).await;
    rig.until(slow, "started").await;
    let died = Instant::now();
    first.dies();
    let second = rig.worker("second").await;
    rig.until_shares(&[&second], &[ALL]).await;
    assert!(
        died.elapsed() < LEASE_TTL + Duration::from_secs(4),
        "takes over within seconds, not {:?}",
        died.elapsed()
    );
    let quick = rig.create("/status/200", |_| {}).await;
    rig.until(quick, "succeeded").await;
    let events = rig.until(slow, "started").await;
    assert!(
        matches!(&events[2], TaskEvent::AttemptFailed(e) if e.failure.kind == FailureKind::WorkerLost && !e.counted),
        "the lost attempt costs no retry: {events:?}"
    );
    second.dies();
}

#[tokio::test]
async fn a_worker_that_comes_back_by_its_name_need_not_wait_for_its_own_leases() {
    let rig = Rig::with_leases_of(Duration::from_secs(600)).await;
    let first = rig.worker("only").await;
    rig.until_shares(&[&first], &[ALL]).await;
    first.dies();
    let again = rig.worker("only").await;
    rig.until_shares(&[&again], &[ALL]).await;
    let task = rig.create("/status/200", |_| {}).await;
    rig.until(task, "succeeded").await;
    again.stop().await;
}

#[tokio::test]
async fn a_partition_that_takes_only_creations_writes_snapshots_too() {
    const DELAYED: usize = 60;
    let mut rig = Rig::new().await;
    rig.pace = SnapshotPace {
        records: 20,
        pause: Duration::ZERO,
    };
    let worker = rig.worker("first").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let later = SystemClock.now().plus(Duration::from_secs(3_000));
    let tasks: Vec<_> = (0..DELAYED)
        .map(|_| {
            rig.a_task("/", |request| {
                request.delay_until = Some(later.to_rfc3339());
            })
        })
        .collect();
    let partition = tasks[0].id.partition();
    let first_fence = rig.fence(partition).await;
    rig.append(tasks).await;
    // Only half of them: the last ones may be within the pace.
    eventually(PATIENCE, async || {
        let stored = rig.log.get(&snapshot_name(partition)).await;
        let Ok(Some(bytes)) = stored else {
            return false;
        };
        Dispatcher::restore(&bytes[SNAPSHOT_HEADER_BYTES..])
            .is_ok_and(|state| state.open() >= DELAYED / 2)
    })
    .await
    .expect("a snapshot with tasks that were only created");
    let fence = rig.fence(partition).await;
    assert!(fence > first_fence, "the fence was renewed");
    let readiness = worker.worker.board().readiness();
    assert!(readiness.is_ready(), "{readiness:?}");
    let owed = worker.worker.board().owed();
    let tasks: u64 = owed.partitions.iter().map(|(_, owed)| owed.tasks).sum();
    assert_eq!(tasks, DELAYED as u64);
    // The renewed fence is the current one from then on.
    let quick = rig.create("/status/200", |_| {}).await;
    rig.until(quick, "succeeded").await;
    worker.dies();
    let second = rig.worker("first").await;
    rig.until_shares(&[&second], &[ALL]).await;
    eventually(PATIENCE, async || {
        let owed = second.worker.board().owed();
        let tasks: u64 = owed.partitions.iter().map(|(_, owed)| owed.tasks).sum();
        tasks == DELAYED as u64
    })
    .await
    .expect("nothing is missing behind the snapshot");
    second.stop().await;
}

#[tokio::test]
async fn an_owner_cut_off_past_its_lease_cannot_write() {
    let rig = Rig::new().await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", rig.nats.port()))
        .await
        .expect("a proxy");
    let first = rig.worker_at("first", &proxy.url()).await;
    rig.until_shares(&[&first], &[ALL]).await;
    let task = rig.create("/delay/1500ms/status/200", |_| {}).await;
    rig.until(task, "started").await;
    let stale = rig.fence(task.partition()).await;
    proxy.stall();
    let second = rig.worker("second").await;
    rig.until_shares(&[&second], &[ALL]).await;
    rig.until(task, "succeeded").await;
    proxy.heal();
    // By now the first worker has a result to store, and learns that it may not.
    rig.until_shares(&[&first, &second], &[ALL / 2, ALL / 2])
        .await;
    assert_eq!(
        rig.kinds(task).await,
        [
            "created",
            "started",
            "attempt_failed",
            "started",
            "succeeded"
        ]
    );
    // The guard itself, as seen from the server.
    let refused = rig
        .log
        .append(cancellation(task, task.partition(), stale))
        .await;
    assert!(
        matches!(refused, Err(AppendError::Conflict { .. })),
        "{refused:?}"
    );
    rig.assert_orderly().await;
    first.stop().await;
    second.stop().await;
}

/// What an owner would append under that fence.
fn cancellation(id: TaskId, partition: Partition, fence: StreamSeq) -> Append {
    let event = TaskEvent::Cancelled(TaskCancelled::idle(id, SystemClock.now()));
    let queue = QueueName::parse("default").expect("a valid name");
    Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject: TaskSubject::event(partition, &team(), &queue, event.kind()).to_string(),
            event: event.name(),
            actor: Actor::worker().to_string(),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        }],
        expect: Expectation::LastOn {
            filter: TaskSubject::owner(partition).to_string(),
            seq: fence,
        },
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}

#[tokio::test]
async fn workers_share_the_partitions_fairly_as_they_come_and_go() {
    let rig = Rig::new().await;
    let first = rig.worker("first").await;
    rig.until_shares(&[&first], &[ALL]).await;
    let second = rig.worker("second").await;
    rig.until_shares(&[&first, &second], &[ALL / 2, ALL / 2])
        .await;
    let mut tasks = Vec::new();
    for queue in queue_in_each_partition() {
        tasks.push(
            rig.create("/status/200", |task| task.queue = Some(queue))
                .await,
        );
    }
    for task in tasks {
        rig.until(task, "succeeded").await;
    }
    first.stop().await;
    rig.until_shares(&[&second], &[ALL]).await;
    second.stop().await;
    rig.assert_orderly().await;
}

#[tokio::test]
async fn a_worker_that_stops_gives_its_partitions_back_at_once() {
    // Leases long enough that nobody could have waited for them to expire.
    let rig = Rig::with_leases_of(Duration::from_secs(60)).await;
    let first = rig.worker("first").await;
    rig.until_shares(&[&first], &[ALL]).await;
    let task = rig.create("/delay/300ms/status/200", |_| {}).await;
    rig.until(task, "started").await;
    first.stop().await;
    // The stop has waited for running calls.
    assert_eq!(
        rig.kinds(task).await,
        ["created", "started", "succeeded"],
        "a stop waits for running calls"
    );
    let second = rig.worker("second").await;
    let began = Instant::now();
    rig.until_shares(&[&second], &[ALL]).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    second.stop().await;
}

#[tokio::test]
async fn what_a_draining_worker_gives_back_is_taken_before_it_has_stopped() {
    let rig = Rig::with_leases_of(Duration::from_secs(60)).await;
    let (first, second) = (rig.worker("first").await, rig.worker("second").await);
    rig.until_shares(&[&first, &second], &[ALL / 2, ALL / 2])
        .await;
    let holders = rig.log.holders().await.expect("holders");
    let queue = queue_in_each_partition()
        .into_iter()
        .zip(partitions().all())
        .find(|(_, partition)| {
            let lease = (format!("partition.{partition}"), "first".to_owned());
            holders.contains(&lease)
        })
        .map(|(queue, _)| queue);
    let slow = rig
        .create("/delay/4s/status/200", |task| task.queue = queue)
        .await;
    rig.until(slow, "started").await;
    let stopping = tokio::spawn(first.stop());
    rig.until_shares(&[&second], &[ALL - 1]).await;
    assert_eq!(
        rig.kinds(slow).await,
        ["created", "started"],
        "the first worker is still waiting for its call"
    );
    stopping.await.expect("it stops");
    rig.until_shares(&[&second], &[ALL]).await;
    second.stop().await;
    rig.assert_orderly().await;
}

#[tokio::test]
async fn what_is_cut_at_the_limit_of_draining_is_released_and_uses_up_no_retry() {
    let mut rig = Rig::new().await;
    rig.drain = Duration::from_millis(300);
    let task = rig
        .create("/delay/30s", |task| task.max_retries = Some(0))
        .await;
    for attempt in 1..=4_u32 {
        let worker = rig.worker(&format!("worker-{attempt}")).await;
        rig.until(task, "started").await;
        worker.stop().await;
        let events = rig.until(task, "released").await;
        assert!(
            matches!(events.last(), Some(TaskEvent::Released(e)) if e.attempt == attempt),
            "{events:?}"
        );
    }
    assert_eq!(rig.kinds(task).await.len(), 9, "no loss, no failure");
}

#[tokio::test]
async fn a_worker_that_joins_and_leaves_again_causes_no_call_to_be_made_twice() {
    let mut rig = Rig::new().await;
    rig.drain = Duration::from_secs(60);
    let first = rig.worker("first").await;
    rig.until_shares(&[&first], &[ALL]).await;
    let mut slow = Vec::new();
    for queue in queue_in_each_partition() {
        let task = rig
            .create("/delay/15s/status/200", |task| task.queue = Some(queue))
            .await;
        slow.push(task);
    }
    for task in &slow {
        rig.until(*task, "started").await;
    }
    let second = rig.worker("second").await;
    eventually(PATIENCE, async || first.worker.leaving() == ALL / 2)
        .await
        .expect("the second worker is to have half of the partitions");
    second.stop().await;
    // No other worker is to have them any more: the first one continues to serve them, beside the
    // running calls.
    for queue in queue_in_each_partition() {
        let quick = rig
            .create("/status/200", |task| task.queue = Some(queue))
            .await;
        rig.until(quick, "succeeded").await;
    }
    for task in slow {
        rig.until(task, "succeeded").await;
        assert_eq!(rig.kinds(task).await, ["created", "started", "succeeded"]);
    }
    assert_eq!(rig.sink.count(), 2 * ALL as u64, "each call was made once");
    first.stop().await;
}

#[tokio::test]
async fn a_call_survives_a_crash_of_the_server() {
    let mut rig = Rig::new().await;
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let slow = rig.create("/delay/2s/status/200", |_| {}).await;
    rig.until(slow, "started").await;
    rig.nats.kill9();
    rig.nats.restart().await.expect("the server comes back");
    rig.until(slow, "succeeded").await;
    assert_eq!(rig.kinds(slow).await, ["created", "started", "succeeded"]);
    assert_eq!(rig.sink.count(), 1, "the call was made once");
    let next = rig.create("/status/200", |_| {}).await;
    rig.until(next, "succeeded").await;
    worker.stop().await;
    rig.assert_orderly().await;
}

#[tokio::test]
async fn no_task_is_lost_when_the_server_dies_under_load() {
    let mut rig = Rig::new().await;
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let queues = queue_in_each_partition();
    let tasks: Vec<_> = (0..800)
        .map(|number| {
            rig.a_task("/delay/20ms/status/200", |task| {
                task.queue = Some(queues[number % queues.len()].clone());
            })
        })
        .collect();
    rig.append(tasks).await;
    rig.sink
        .wait_for(300, PATIENCE)
        .await
        .expect("tasks are called");
    rig.nats.kill9();
    rig.nats.restart().await.expect("the server comes back");
    eventually(PATIENCE, async || {
        let records = rig.records().await;
        let ended = records
            .iter()
            .filter(|record| record.event == "task.succeeded.v1");
        ended.count() == 800
    })
    .await
    .expect("all tasks succeed");
    worker.stop().await;
    rig.assert_orderly().await;
}

#[tokio::test]
async fn a_waiting_task_is_cancelled_by_its_owner() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let later = SystemClock
        .now()
        .plus(Duration::from_secs(600))
        .to_rfc3339();
    let task = rig
        .create("/status/200", |task| task.delay_until = Some(later))
        .await;
    // At once: the owner may not have read the creation yet, and must find the task all the same.
    let reply = rig.cancel(task).await;
    assert!(matches!(reply, OwnerReply::Done { .. }), "{reply:?}");
    assert_eq!(rig.kinds(task).await, ["created", "cancelled"]);
    assert_eq!(rig.cancel(task).await, OwnerReply::NotOpen);
    let running = rig.create("/delay/30s", |_| {}).await;
    rig.until(running, "started").await;
    let reply = rig.cancel(running).await;
    assert!(matches!(reply, OwnerReply::Done { .. }), "{reply:?}");
    rig.until(running, "cancelled").await;
    assert_eq!(
        rig.kinds(running).await,
        ["created", "started", "cancel_requested", "cancelled"]
    );
    assert_eq!(rig.cancel(running).await, OwnerReply::NotOpen);
    worker.dies();
}

#[tokio::test]
async fn a_foreign_message_does_not_keep_a_partition_from_its_owner() {
    let rig = Rig::new().await;
    for partition in partitions().all() {
        let subject = format!("tasks.{partition}.somebody.else.created");
        rig.log
            .client()
            .publish(subject, "no event".into())
            .await
            .expect("published");
    }
    rig.log.client().flush().await.expect("flushed");
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let task = rig.create("/status/200", |_| {}).await;
    eventually(PATIENCE, async || rig.sink.count() == 1)
        .await
        .expect("the task behind it is called");
    assert_eq!(
        rig.sink.received()[0].task_id.as_deref(),
        Some(task.to_string().as_str())
    );
    worker.stop().await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn drain_rate_of_a_backlog() {
    const TASKS: usize = 20_000;
    let rig = Rig::new().await;
    let queues = queue_in_each_partition();
    for batch in 0..TASKS / 500 {
        let tasks = (0..500).map(|number| {
            rig.a_task("/status/200", |task| {
                task.queue = Some(queues[(batch + number) % queues.len()].clone());
            })
        });
        rig.append(tasks.collect()).await;
    }
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[ALL]).await;
    let began = Instant::now();
    eventually(Duration::from_secs(120), async || {
        let bounds = rig.log.bounds(Stream::Tasks).await.expect("bounds");
        bounds.last.0 >= TASKS as u64 * 3 + u64::from(partitions().get())
    })
    .await
    .expect("all tasks end");
    let took = began.elapsed();
    let rate = TASKS as f64 / took.as_secs_f64();
    eprintln!("{TASKS} tasks in {took:?}: {rate:.0} tasks/s");
    worker.stop().await;
    rig.assert_orderly().await;
}
