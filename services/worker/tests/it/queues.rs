//! Pauses and limits of queues through whole workers: what starts, and what does not after the
//! answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use waybill_domain::event::{ControlEvent, QueueLimited, QueuePaused, QueueResumed, TaskEvent};
use waybill_domain::id::{Environment, QueueName, TaskId};
use waybill_domain::rate::StartRate;
use waybill_domain::time::Timestamp;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::{Proxy, eventually};
use waybill_worker::{Clock, SystemClock};

use crate::rig::{LEASE_TTL, PATIENCE, by_task, queue_in_each_partition, team};
use crate::vault::rig::VaultRig;

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).expect("a name")
}

impl VaultRig {
    /// Decides something about a queue, and returns once it holds everywhere, with where TASKS ends
    /// then.
    async fn decide(&self, event: ControlEvent) -> StreamSeq {
        let seq = self.append(event).await;
        self.fence.everywhere(seq).await.expect("everybody knows");
        let bounds = self.rig.log.bounds(Stream::Tasks).await;
        bounds.expect("the log can be read").last
    }

    async fn pause(&self, name: &str, until: Option<Timestamp>) -> StreamSeq {
        self.decide(ControlEvent::QueuePaused(QueuePaused {
            queue: queue(name),
            team: team(),
            environment: Environment::Live,
            reason: None,
            until,
            paused_by: "user:u".into(),
            at: SystemClock.now(),
            drain: false,
        }))
        .await
    }

    async fn resume(&self, name: &str) {
        self.decide(ControlEvent::QueueResumed(QueueResumed {
            queue: queue(name),
            team: team(),
            environment: Environment::Live,
            at: SystemClock.now(),
        }))
        .await;
    }

    async fn limit(&self, name: &str, concurrency: Option<u32>, rate: Option<StartRate>) {
        self.decide(ControlEvent::QueueLimited(QueueLimited {
            queue: queue(name),
            team: team(),
            environment: Environment::Live,
            concurrency,
            rate,
            weight: None,
            at: SystemClock.now(),
            retention_s: None,
        }))
        .await;
    }

    async fn crowd(&self, name: &str, count: usize, path: &str) -> BTreeSet<TaskId> {
        let tasks: Vec<_> = (0..count)
            .map(|_| self.rig.a_task(path, |task| task.queue = Some(name.into())))
            .collect();
        let ids = tasks.iter().map(|task| task.id).collect();
        for part in tasks.chunks(100) {
            self.rig.append(part.to_vec()).await;
        }
        ids
    }

    /// Where the starts of these tasks stand, in order.
    async fn starts(&self, tasks: &BTreeSet<TaskId>) -> Vec<StreamSeq> {
        let mut starts = Vec::new();
        for record in self.rig.records().await {
            if let Ok(TaskEvent::Started(e)) = TaskEvent::decode(&record.event, &record.payload)
                && tasks.contains(&e.id)
            {
                starts.push(record.seq);
            }
        }
        starts
    }

    async fn until_ended(&self, tasks: &BTreeSet<TaskId>) {
        eventually(3 * PATIENCE, async || {
            let lives = by_task(&self.rig.records().await);
            let ended = |id: &TaskId| {
                let last = lives.get(id).and_then(|events| events.last());
                matches!(last, Some(TaskEvent::Succeeded(_)))
            };
            tasks.iter().all(ended)
        })
        .await
        .expect("all of them end");
    }
}

#[tokio::test]
async fn after_the_answer_of_a_pause_nothing_of_the_queue_starts_until_it_is_resumed() {
    let mut stage = VaultRig::guarded().await;
    (stage.rig.has_queues, stage.rig.slots) = (true, 4);
    let queues = queue_in_each_partition();
    let [paused, other, ..] = &queues[..] else {
        panic!("four partitions");
    };
    let first = stage.rig.worker("first").await;
    let second = stage.rig.worker("second").await;
    stage.rig.until_shares(&[&first, &second], &[2, 2]).await;
    let held = stage.crowd(paused, 400, "/delay/10ms/status/200").await;
    let free = stage.crowd(other, 50, "/delay/10ms/status/200").await;
    eventually(PATIENCE, async || stage.starts(&held).await.len() > 20)
        .await
        .expect("some start");
    let answered = stage.pause(paused, None).await;
    let before = stage.starts(&held).await;
    assert!(before.len() < 400, "the crowd is not through yet");
    let more = stage.crowd(paused, 20, "/status/200").await;
    stage.until_ended(&free).await;
    // What is created later starts elsewhere, so the workers are not just slow.
    let later = stage.crowd(other, 20, "/status/200").await;
    stage.until_ended(&later).await;
    let after = stage.starts(&held).await;
    assert!(
        after.last().is_some_and(|last| *last <= answered),
        "{} of {} starts came after {answered}",
        after.iter().filter(|seq| **seq > answered).count(),
        after.len()
    );
    assert_eq!(stage.starts(&more).await, []);

    // Neither a crash nor a restart of its worker lifts it.
    first.dies();
    second.stop().await;
    let third = stage.rig.worker("third").await;
    stage.rig.until_shares(&[&third], &[4]).await;
    let later = stage.crowd(other, 20, "/status/200").await;
    stage.until_ended(&later).await;
    assert_eq!(stage.starts(&held).await, after);

    stage.resume(paused).await;
    stage.until_ended(&held).await;
    stage.until_ended(&more).await;
    stage.rig.assert_orderly().await;
    third.stop().await;
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself() {
    let mut stage = VaultRig::new().await;
    stage.rig.has_queues = true;
    let worker = stage.rig.worker("only").await;
    let until = SystemClock.now().plus(Duration::from_secs(2));
    stage.pause("mail", Some(until)).await;
    let held = stage.crowd("mail", 5, "/status/200").await;
    stage.until_ended(&held).await;
    for record in stage.rig.records().await {
        if let Ok(TaskEvent::Started(e)) = TaskEvent::decode(&record.event, &record.payload) {
            assert!(e.at >= until, "{:?} before {until:?}", e.at);
        }
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_hears_of_no_pause_starts_nothing_once_it_is_answered() {
    let mut stage = VaultRig::new().await;
    stage.rig.has_queues = true;
    let proxy = Proxy::start(format!("127.0.0.1:{}", stage.rig.nats.port()))
        .await
        .expect("a proxy");
    let worker = stage.rig.worker_at("cut-off", &proxy.url()).await;
    stage.rig.until_shares(&[&worker], &[4]).await;
    let first = stage.crowd("mail", 1, "/status/200").await;
    stage.until_ended(&first).await;
    proxy.stall();
    let answered = stage.pause("mail", None).await;
    let held = stage.crowd("mail", 5, "/status/200").await;
    proxy.heal();
    let other = stage.crowd("other", 5, "/status/200").await;
    stage.until_ended(&other).await;
    assert_eq!(stage.starts(&held).await, [], "after {answered}");
    stage.resume("mail").await;
    stage.until_ended(&held).await;
    worker.stop().await;
}

#[tokio::test]
async fn no_more_attempts_at_a_time_than_the_limit_and_no_faster_than_the_rate() {
    let mut stage = VaultRig::new().await;
    stage.rig.has_queues = true;
    let worker = stage.rig.worker("only").await;
    stage.limit("mail", Some(3), None).await;
    let rate = StartRate {
        limit: 10,
        per_ms: 1_000,
        burst: 2,
    };
    stage.limit("slow", None, Some(rate)).await;
    let many = stage.crowd("mail", 60, "/delay/20ms/status/200").await;
    let few = stage.crowd("slow", 15, "/status/200").await;
    stage.until_ended(&many).await;
    stage.until_ended(&few).await;
    let mut running = BTreeSet::new();
    let mut most = 0;
    let mut started: BTreeMap<TaskId, Timestamp> = BTreeMap::new();
    for record in stage.rig.records().await {
        match TaskEvent::decode(&record.event, &record.payload) {
            Ok(TaskEvent::Started(e)) => {
                started.insert(e.id, e.at);
                if many.contains(&e.id) {
                    running.insert(e.id);
                }
            }
            Ok(TaskEvent::Succeeded(e)) => {
                running.remove(&e.id);
            }
            _ => {}
        }
        most = most.max(running.len());
    }
    assert_eq!(most, 3);
    let mut times: Vec<_> = few.iter().map(|id| started[id]).collect();
    times.sort_unstable();
    for (first, from) in times.iter().enumerate() {
        for (last, to) in times.iter().enumerate().skip(first) {
            // The times are of the wall clock, in whole milliseconds.
            let window = to.since(*from).as_millis() + 2;
            let allowed = 2 + 10 * window / 1_000;
            let made = (last - first + 1) as u128;
            assert!(made <= allowed, "{made} starts in {window} ms");
        }
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_answer_of_a_pause_does_not_wait_for_attempts_that_run() {
    let mut stage = VaultRig::new().await;
    stage.rig.has_queues = true;
    let worker = stage.rig.worker("only").await;
    stage.crowd("mail", 3, "/hang").await;
    stage.rig.sink.wait_for(3, PATIENCE).await.expect("calls");
    let asked = std::time::Instant::now();
    stage.pause("mail", None).await;
    assert!(asked.elapsed() < LEASE_TTL, "it was acknowledged");
    worker.dies();
}
