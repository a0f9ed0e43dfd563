//! Limits that tasks of several queues share, through two workers and a real nats-server.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use waybill_domain::command::{Blocker, OwnerReply, OwnerRequest, subject};
use waybill_domain::event::{ControlEvent, LimitPaused, LimitResumed, LimitSet, TaskEvent};
use waybill_domain::id::{Environment, LimitKey, TaskId};
use waybill_domain::limit::KeyStanding;
use waybill_domain::partition::Partition;
use waybill_domain::task::Length;
use waybill_domain::task::request::{LimitRequest, RateRequest};
use waybill_domain::time::Timestamp;
use waybill_log::Record;
use waybill_testkit::eventually;
use waybill_worker::{Clock, SystemClock};

use crate::rig::{PATIENCE, Rig, by_task, partitions, queue_in_each_partition, team};
use crate::vault::rig::VaultRig;

fn key(name: &str) -> LimitKey {
    LimitKey::parse(name).expect("a key")
}

fn limit(name: &str, concurrency: Option<i64>) -> LimitRequest {
    LimitRequest {
        key: Some(name.into()),
        concurrency,
        rate: None,
    }
}

/// Tasks in each partition, in turn.
async fn crowd(rig: &Rig, count: usize, path: &str, limits: &[LimitRequest]) -> BTreeSet<TaskId> {
    let queues = queue_in_each_partition();
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            rig.a_task(path, |task| {
                task.queue = Some(queues[number % queues.len()].clone());
                task.limits = Some(limits.to_vec());
            })
        })
        .collect();
    let ids = tasks.iter().map(|task| task.id).collect();
    for task in tasks {
        rig.append(vec![task]).await;
    }
    ids
}

async fn until_ended(rig: &Rig, tasks: &BTreeSet<TaskId>) {
    eventually(PATIENCE, async || {
        let lives = by_task(&rig.records().await);
        let ended = |id: &TaskId| {
            let last = lives.get(id).and_then(|events| events.last());
            matches!(last, Some(TaskEvent::Succeeded(_)))
        };
        tasks.iter().all(ended)
    })
    .await
    .expect("all of them end");
}

/// The most that ran at a time, in the order of the log, as anyone can follow it.
fn most_at_a_time(records: &[Record], tasks: &BTreeSet<TaskId>) -> usize {
    let (mut running, mut most) = (BTreeSet::new(), 0);
    for record in records {
        let Ok(event) = TaskEvent::decode(&record.event, &record.payload) else {
            continue;
        };
        let id = event.id();
        match event {
            TaskEvent::Started(_) if tasks.contains(&id) => {
                running.insert(id);
            }
            TaskEvent::Succeeded(_)
            | TaskEvent::AttemptFailed(_)
            | TaskEvent::Released(_)
            | TaskEvent::Dead(_) => {
                running.remove(&id);
            }
            _ => {}
        }
        most = most.max(running.len());
    }
    most
}

async fn standing(rig: &Rig, name: &str) -> Vec<KeyStanding> {
    let request = OwnerRequest::ListLimits {
        team: team(),
        key: Some(key(name)),
    };
    let bytes = request.encode();
    let mut all = Vec::new();
    for partition in partitions().all() {
        let reply = ask(rig, partition, bytes.clone()).await;
        match reply {
            OwnerReply::Limits(told) => all.extend(told),
            other => panic!("{other:?}"),
        }
    }
    all
}

async fn ask(rig: &Rig, partition: Partition, bytes: Vec<u8>) -> OwnerReply {
    let reply = rig
        .log
        .client()
        .request(subject(partition), bytes.into())
        .await;
    OwnerReply::decode(&reply.expect("a reply").payload).expect("an owner's reply")
}

#[tokio::test]
async fn two_workers_keep_a_limit_whatever_partition_a_task_is_in() {
    let rig = Rig::new().await;
    let (first, second) = (rig.worker("first").await, rig.worker("second").await);
    rig.until_shares(&[&first, &second], &[2, 2]).await;
    let many = crowd(
        &rig,
        80,
        "/delay/10ms/status/200",
        &[limit("many", Some(5))],
    )
    .await;
    until_ended(&rig, &many).await;
    let records = rig.records().await;
    let most = most_at_a_time(&records, &many);
    assert!((2..=5).contains(&most), "{most} at a time");
    let partitions: BTreeSet<_> = many.iter().map(|id| id.partition()).collect();
    assert_eq!(partitions.len(), 4);

    let begun = Instant::now();
    let single = crowd(&rig, 40, "/status/200", &[limit("single", Some(1))]).await;
    until_ended(&rig, &single).await;
    let each = begun.elapsed() / 40;
    eprintln!("one at a time over four partitions: {each:?} for each task");
    assert_eq!(most_at_a_time(&rig.records().await, &single), 1);
    assert!(each < Duration::from_millis(500), "{each:?} for each");
    // What was granted is given back within a second, and nobody remembers the key.
    eventually(PATIENCE, async || standing(&rig, "single").await.is_empty())
        .await
        .expect("forgotten");
    rig.assert_orderly().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_limit_holds_when_a_worker_dies_and_another_takes_over() {
    let rig = Rig::new().await;
    let (first, second) = (rig.worker("first").await, rig.worker("second").await);
    rig.until_shares(&[&first, &second], &[2, 2]).await;
    let tasks = crowd(
        &rig,
        60,
        "/delay/50ms/status/200",
        &[limit("three", Some(3))],
    )
    .await;
    eventually(PATIENCE, async || {
        most_at_a_time(&rig.records().await, &tasks) > 0
    })
    .await
    .expect("some start");
    first.dies();
    until_ended(&rig, &tasks).await;
    assert!(most_at_a_time(&rig.records().await, &tasks) <= 3);
    let third = rig.worker("third").await;
    rig.until_shares(&[&second, &third], &[2, 2]).await;
    let more = crowd(&rig, 20, "/status/200", &[limit("three", Some(3))]).await;
    until_ended(&rig, &more).await;
    assert!(most_at_a_time(&rig.records().await, &more) <= 3);
    second.stop().await;
    third.stop().await;
}

#[tokio::test]
async fn a_rate_counts_starts_over_all_partitions() {
    let rig = Rig::new().await;
    let (first, second) = (rig.worker("first").await, rig.worker("second").await);
    rig.until_shares(&[&first, &second], &[2, 2]).await;
    let rated = LimitRequest {
        key: Some("slow".into()),
        concurrency: None,
        rate: Some(RateRequest {
            limit: Some(10),
            per: Some(Length::Seconds(1.0)),
            burst: None,
        }),
    };
    let tasks = crowd(&rig, 25, "/status/200", &[rated]).await;
    until_ended(&rig, &tasks).await;
    let mut starts: Vec<Timestamp> = Vec::new();
    for record in rig.records().await {
        if let Ok(TaskEvent::Started(e)) = TaskEvent::decode(&record.event, &record.payload) {
            starts.push(e.at);
        }
    }
    starts.sort_unstable();
    assert_eq!(starts.len(), 25);
    for (first, from) in starts.iter().enumerate() {
        for (last, to) in starts.iter().enumerate().skip(first) {
            let window = to.since(*from).as_millis() + 2 + 1_000;
            let allowed = 1 + 10 * window / 1_000;
            let made = (last - first + 1) as u128;
            assert!(made <= allowed, "{made} starts in {window} ms");
        }
    }
    first.stop().await;
    second.stop().await;
}

impl VaultRig {
    async fn decide_limit(&self, event: ControlEvent) {
        let seq = self.append(event).await;
        self.fence.everywhere(seq).await.expect("everybody knows");
    }

    async fn set(&self, name: &str, concurrency: Option<u32>) {
        self.decide_limit(ControlEvent::LimitSet(LimitSet {
            key: key(name),
            team: team(),
            environment: Environment::Live,
            concurrency,
            rate: None,
            at: SystemClock.now(),
        }))
        .await;
    }
}

#[tokio::test]
async fn what_was_set_beats_what_tasks_say_and_a_pause_holds_all_partitions() {
    let mut stage = VaultRig::guarded().await;
    (stage.rig.has_queues, stage.rig.slots) = (true, 16);
    let (first, second) = (
        stage.rig.worker("first").await,
        stage.rig.worker("second").await,
    );
    stage.rig.until_shares(&[&first, &second], &[2, 2]).await;
    stage.set("set", Some(2)).await;
    let tasks = crowd(
        &stage.rig,
        40,
        "/delay/10ms/status/200",
        &[limit("set", Some(9))],
    )
    .await;
    until_ended(&stage.rig, &tasks).await;
    assert!(most_at_a_time(&stage.rig.records().await, &tasks) <= 2);

    stage
        .decide_limit(ControlEvent::LimitPaused(LimitPaused {
            key: key("set"),
            team: team(),
            environment: Environment::Live,
            reason: None,
            until: None,
            paused_by: "user:u".into(),
            at: SystemClock.now(),
        }))
        .await;
    let held = crowd(&stage.rig, 8, "/status/200", &[limit("set", None)]).await;
    let free = crowd(&stage.rig, 8, "/status/200", &[limit("free", Some(2))]).await;
    until_ended(&stage.rig, &free).await;
    let lives: BTreeMap<_, _> = by_task(&stage.rig.records().await);
    for id in &held {
        assert_eq!(lives[id].len(), 1, "{id} is only created");
    }
    let task = *held.first().expect("one");
    let request = OwnerRequest::Explain { task, team: team() };
    let bytes = request.encode();
    match ask(&stage.rig, task.partition(), bytes).await {
        OwnerReply::Explained(told) => {
            assert_eq!(told.blocker, Some(Blocker::LimitPaused { until: None }));
            assert_eq!(told.limit, Some(key("set")));
        }
        other => panic!("{other:?}"),
    }
    stage
        .decide_limit(ControlEvent::LimitResumed(LimitResumed {
            key: key("set"),
            team: team(),
            environment: Environment::Live,
            at: SystemClock.now(),
        }))
        .await;
    until_ended(&stage.rig, &held).await;
    first.stop().await;
    second.stop().await;
}
