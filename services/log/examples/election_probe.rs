//! What a change of leader of a replicated stream costs: of the server's own election, and of what this crate adds to it.
//!
//! Three private servers. Beside appends at a steady rate, a client without any of this crate publishes to the same stream every
//! 20 ms; how long it goes without an acknowledgement is the server's own gap.
//!
//! `cargo run --release -p waybill-log --example election_probe -- [rounds] [appends per second] [kill|freeze|term|ldm]...`

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use waybill_log::{
    Append, AppendError, Atomicity, Expectation, JetStreamLog, Log, NatsConfig, NewRecord, Stream,
    connect,
};
use waybill_testkit::NatsCluster;

const ROUNDS: usize = 3;
const RATE: u32 = 300;
const SUBJECT: &str = "tasks.1.team_01h2xcejqtf2nbrexx3vqjhp41.default.created";
/// The raw client publishes, and readers read, as often.
const EVERY: Duration = Duration::from_millis(20);
/// From before the fault until well after the longest election.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(18);

/// When each of a kind succeeded, and how long it took.
#[derive(Clone, Default)]
struct Successes(Arc<Mutex<Vec<(Instant, Duration)>>>);

impl Successes {
    fn note(&self, begin: Instant) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((now, now - begin));
    }

    /// The longest time without one, the longest that one took, and the 99th percentile.
    fn summary(&self) -> [f64; 3] {
        let mut all = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        all.sort_unstable_by_key(|(at, _)| *at);
        let gaps = all.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let gap = gaps.max().unwrap_or_default();
        let mut took: Vec<Duration> = all.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        let at = |share: usize| took.get((took.len().max(1) - 1) * share / 100).copied();
        [gap, at(100).unwrap_or_default(), at(99).unwrap_or_default()].map(|it| it.as_secs_f64())
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(ROUNDS), |text| text.parse())?;
    let rate = arguments.next().map_or(Ok(RATE), |text| text.parse())?;
    let mut faults: Vec<String> = arguments.collect();
    if faults.is_empty() {
        faults = ["kill", "freeze", "term", "ldm"].map(Into::into).to_vec();
    }
    let mut cluster = NatsCluster::start().await?;
    let log = connect(&config(&cluster)).await?;
    println!(
        "{:>8} {:>10} {:>11} {:>11} {:>11} {:>9} {:>9} {:>9} {:>9}",
        "fault",
        "raw gap s",
        "append gap",
        "read gap",
        "tail gap",
        "max s",
        "p99 s",
        "refused",
        "unknown"
    );
    for fault in &faults {
        for _ in 0..rounds {
            round(&mut cluster, &log, fault, rate).await?;
        }
    }
    Ok(())
}

fn config(cluster: &NatsCluster) -> NatsConfig {
    let mut config = NatsConfig {
        servers: cluster.urls().into_iter().map(Into::into).collect(),
        connect_timeout_ms: 40_000,
        ..NatsConfig::default()
    };
    config.streams.replicas = 3;
    config
}

async fn round(
    cluster: &mut NatsCluster,
    log: &JetStreamLog,
    fault: &str,
    rate: u32,
) -> Result<()> {
    let leader = cluster.leader_of("TASKS").await?;
    let [raw, appended, read, tailed] = [(); 4].map(|()| Successes::default());
    let mut background = JoinSet::new();
    let others: Vec<String> = (0..cluster.nodes.len())
        .filter(|node| *node != leader)
        .map(|node| cluster.nodes[node].url())
        .collect();
    background.spawn(publish_raw(async_nats::connect(others).await?, raw.clone()));
    background.spawn(read_last(log.clone(), read.clone()));
    background.spawn(follow(log.clone(), tailed.clone()));
    let appends = tokio::spawn(append_at(log.clone(), appended.clone(), rate));
    sleep(BEFORE).await;
    let node = &mut cluster.nodes[leader];
    match fault {
        "kill" => node.kill9(),
        "freeze" => node.pause()?,
        "term" => node.stop().await?,
        "ldm" => node.lame_duck().await?,
        other => bail!("{other} is not one of kill, freeze, term, ldm"),
    }
    let (refused, unknown) = appends.await??;
    background.abort_all();
    let [raw, appended, read, tailed] = [raw, appended, read, tailed].map(|it| it.summary());
    println!(
        "{fault:>8} {:>10.2} {:>11.2} {:>11.2} {:>11.2} {:>9.2} {:>9.2} {refused:>9} {unknown:>9}",
        raw[0], appended[0], read[0], tailed[0], appended[1], appended[2]
    );
    let node = &mut cluster.nodes[leader];
    if node.is_paused() {
        node.resume()?;
    } else {
        node.restart().await?;
    }
    cluster.wait_for_copies("TASKS").await
}

/// What the server does by itself: each publish is another one, so none waits for the one before.
async fn publish_raw(client: async_nats::Client, successes: Successes) {
    let mut ticks = interval(EVERY);
    let mut requests = JoinSet::new();
    loop {
        ticks.tick().await;
        while requests.try_join_next().is_some() {}
        let (client, successes) = (client.clone(), successes.clone());
        requests.spawn(async move {
            let begin = Instant::now();
            let request = async_nats::Request::new().payload("raw".into());
            if let Ok(answer) = client.send_request(SUBJECT, request).await
                && answer.payload.starts_with(b"{\"stream\"")
            {
                successes.note(begin);
            }
        });
    }
}

async fn read_last(log: JetStreamLog, successes: Successes) {
    loop {
        let begin = Instant::now();
        if log.last(Stream::Tasks, SUBJECT).await.is_ok() {
            successes.note(begin);
        }
        sleep(EVERY).await;
    }
}

async fn follow(log: JetStreamLog, successes: Successes) {
    let Ok(bounds) = log.bounds(Stream::Tasks).await else {
        return;
    };
    let mut tail = log.tail(Stream::Tasks, vec![], bounds.last.next());
    loop {
        let begin = Instant::now();
        if tail.next_batch(1000).await.is_ok() {
            successes.note(begin);
        }
    }
}

/// Each append begins at its own time, whatever became of those before it. How many were refused, and how many have an unknown end.
async fn append_at(log: JetStreamLog, successes: Successes, rate: u32) -> Result<(u32, u32)> {
    let begin = Instant::now();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut appends = JoinSet::new();
    while begin.elapsed() < BEFORE + AFTER {
        ticks.tick().await;
        let (log, successes) = (log.clone(), successes.clone());
        appends.spawn(async move {
            let begin = Instant::now();
            let outcome = log.append(an_append()).await.map(drop);
            if outcome.is_ok() {
                successes.note(begin);
            }
            outcome
        });
    }
    let (mut refused, mut unknown) = (0, 0);
    while let Some(outcome) = appends.join_next().await {
        match outcome? {
            Ok(()) => {}
            Err(AppendError::Unknown { .. }) => unknown += 1,
            Err(_) => refused += 1,
        }
    }
    Ok((refused, unknown))
}

fn an_append() -> Append {
    let record = NewRecord {
        subject: SUBJECT.to_owned(),
        event: "task.created.v1",
        actor: "key:key_4fG7aB3c".to_owned(),
        traceparent: None,
        origin: None,
        payload: Bytes::from_static(&[b'x'; 512]),
    };
    Append {
        stream: Stream::Tasks,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}
