//! Tails by consumers against tails by direct gets: how long a record takes from its append to its reader, what that costs the
//! server and this process, and how fast one partition is replayed. The kinds take turns, and figures are medians of the rounds.
//!
//! `cargo run --release -p waybill-log --example tail_probe -- [one|three] [rounds] [seconds]`: one server, or three with copies.

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use waybill_log::jetstream::Reads;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, NatsConfig, NewRecord, Stream, StreamSeq,
    connect, connect_alone,
};
use waybill_testkit::{NatsCluster, NatsServer, eventually};

const PAYLOAD: usize = 512;
const TAILS: [usize; 3] = [1, 4, 16];
/// Appends in a second where they are paced.
const PACE: u64 = 200;
/// Appends in flight where they are not.
const CROWD: usize = 64;
/// Records of the replayed partition, and of all others together.
const REPLAYED: usize = 10_000;
const OTHERS: usize = 30_000;
const FORM: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Nobody reads: what the appends alone cost.
    None,
    Consumers,
    Direct,
}

const KINDS: [Kind; 3] = [Kind::None, Kind::Consumers, Kind::Direct];

impl Kind {
    fn reads(self) -> Reads {
        match self {
            Self::None | Self::Consumers => Reads::Consumers,
            Self::Direct => Reads::Direct,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Consumers => "consumers",
            Self::Direct => "direct",
        }
    }
}

/// The servers, which live as long as this.
enum Servers {
    One(NatsServer),
    Three(NatsCluster),
}

impl Servers {
    fn pids(&self) -> Vec<u32> {
        match self {
            Self::One(server) => server.pid().into_iter().collect(),
            Self::Three(cluster) => cluster.nodes.iter().filter_map(NatsServer::pid).collect(),
        }
    }

    fn config(&self, reads: Reads) -> NatsConfig {
        let mut config = match self {
            Self::One(server) => NatsConfig::at(server.url()),
            Self::Three(cluster) => NatsConfig {
                servers: cluster.urls().into_iter().map(Into::into).collect(),
                ..NatsConfig::default()
            },
        };
        config.streams.replicas = if matches!(self, Self::One(_)) { 1 } else { 3 };
        config.reads = reads;
        config
    }

    /// User and system time of all of them, in seconds.
    fn processor(&self) -> Result<f64> {
        let mut all = 0.0;
        for pid in self.pids() {
            all += processor(&pid.to_string())?;
        }
        Ok(all)
    }
}

/// User and system time of a process, in seconds.
fn processor(pid: &str) -> Result<f64> {
    /// Of the kernel's clock.
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("a name in brackets")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || {
        fields
            .next()
            .context("a field")?
            .parse::<f64>()
            .context("a number")
    };
    Ok((next()? + next()?) / TICKS)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let servers = match arguments.next().as_deref() {
        Some("three") => Servers::Three(NatsCluster::start().await?),
        _ => Servers::One(NatsServer::start().await?),
    };
    let rounds: usize = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let seconds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let mut writer = None;
    eventually(FORM, async || {
        writer = connect_alone(&servers.config(Reads::Consumers)).await.ok();
        writer.is_some()
    })
    .await?;
    let writer = writer.context("a log")?;
    println!(
        "{:>7} {:>5} {:>10} {:>9} {:>8} {:>8} {:>14} {:>14}",
        "load",
        "tails",
        "kind",
        "appends/s",
        "p50 ms",
        "p99 ms",
        "server us each",
        "client us each"
    );
    for is_paced in [true, false] {
        for tails in TAILS {
            let mut runs: [Vec<[f64; 5]>; 3] = Default::default();
            for _ in 0..rounds {
                for (kind, runs) in KINDS.into_iter().zip(&mut runs) {
                    let log = connect(&servers.config(kind.reads())).await?;
                    let time = Duration::from_secs(seconds);
                    runs.push(run(&servers, &writer, &log, kind, tails, is_paced, time).await?);
                }
            }
            for (kind, runs) in KINDS.into_iter().zip(&runs) {
                let at = |index: usize| median(runs.iter().map(|run| run[index]).collect());
                println!(
                    "{:>7} {tails:>5} {:>10} {:>9.0} {:>8.2} {:>8.2} {:>14.0} {:>14.0}",
                    if is_paced { "paced" } else { "crowd" },
                    kind.name(),
                    at(0),
                    at(1),
                    at(2),
                    at(3),
                    at(4)
                );
            }
        }
    }
    replays(&servers, &writer, rounds).await
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn a_record(partition: usize, number: usize) -> NewRecord {
    let mut payload = vec![b'x'; PAYLOAD];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    NewRecord {
        subject: format!("tasks.{partition}.team_01h2xcejqtf2nbrexx3vqjhp41.default.created"),
        event: "task.created.v1",
        actor: "key:key_4fG7aB3c".to_owned(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(payload),
    }
}

fn an_append(records: Vec<NewRecord>) -> Append {
    Append {
        stream: Stream::Tasks,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}

/// Appends that begin now, by number, and how long each took to be read.
#[derive(Default)]
struct Times {
    begun: Vec<Instant>,
    took: Vec<Duration>,
}

/// Appends a second, milliseconds (p50, p99), and microseconds of processor of the servers and of this process for each append.
async fn run(
    servers: &Servers,
    writer: &JetStreamLog,
    log: &JetStreamLog,
    kind: Kind,
    tails: usize,
    is_paced: bool,
    time: Duration,
) -> Result<[f64; 5]> {
    let times = Arc::new(Mutex::new(Times::default()));
    let from = log.bounds(Stream::Tasks).await?.last.next();
    let mut readers = JoinSet::new();
    for partition in (0..tails).filter(|_| kind != Kind::None) {
        let filter = format!("tasks.{partition}.>");
        let mut tail = log.tail(Stream::Tasks, vec![filter], from);
        let times = Arc::clone(&times);
        readers.spawn(async move {
            loop {
                let Ok(batch) = tail.next_batch(1000).await else {
                    continue;
                };
                let now = Instant::now();
                let mut times = times.lock();
                for record in batch {
                    let mut number = [0; 8];
                    number.copy_from_slice(&record.payload[..8]);
                    let begun = times.begun[usize::from_le_bytes(number)];
                    times.took.push(now - begun);
                }
            }
        });
    }
    // The tails are open when each has read something.
    let mut count = 0;
    append_all(writer, &times, tails, &mut count, tails).await?;
    if kind != Kind::None {
        eventually(FORM, async || times.lock().took.len() == count).await?;
    }
    times.lock().took.clear();
    let warm = count;
    let (server, client) = (servers.processor()?, processor("self")?);
    let start = Instant::now();
    if is_paced {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PACE)?);
        while start.elapsed() < time {
            tick.tick().await;
            append_all(writer, &times, tails, &mut count, 1).await?;
        }
    } else {
        while start.elapsed() < time {
            append_all(writer, &times, tails, &mut count, CROWD).await?;
        }
    }
    let appended = count - warm;
    let took = start.elapsed();
    if kind != Kind::None {
        eventually(FORM, async || times.lock().took.len() == appended).await?;
    }
    let each = |seconds: f64| seconds * 1e6 / appended as f64;
    let (server, client) = (
        each(servers.processor()? - server),
        each(processor("self")? - client),
    );
    let mut latencies = std::mem::take(&mut times.lock().took);
    latencies.sort_unstable();
    let at = |share: usize| {
        let at = latencies.len().saturating_sub(1) * share / 100;
        latencies
            .get(at)
            .map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    };
    let rate = appended as f64 / took.as_secs_f64();
    Ok([rate, at(50), at(99), server, client])
}

/// Appends so many records at once, one after the other to each partition.
async fn append_all(
    writer: &JetStreamLog,
    times: &Mutex<Times>,
    partitions: usize,
    count: &mut usize,
    more: usize,
) -> Result<()> {
    let mut appends = Vec::new();
    for _ in 0..more {
        let number = *count;
        *count += 1;
        times.lock().begun.push(Instant::now());
        appends.push(writer.append(an_append(vec![a_record(number % partitions, number)])));
    }
    futures::future::try_join_all(appends).await?;
    Ok(())
}

/// Reads one partition among others from its beginning.
async fn replays(servers: &Servers, writer: &JetStreamLog, rounds: usize) -> Result<()> {
    let first = writer.bounds(Stream::Tasks).await?.last.next();
    for at in (0..REPLAYED).step_by(100) {
        let others = OTHERS / REPLAYED;
        for partition in 0..=others {
            let records = (at..at + 100).map(|number| a_record(100 + partition, number));
            writer.append(an_append(records.collect())).await?;
        }
    }
    let mut took: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds.max(5) {
        for (kind, took) in KINDS[1..].iter().zip(&mut took) {
            let log = connect(&servers.config(kind.reads())).await?;
            let start = Instant::now();
            let mut tail = log.tail(Stream::Tasks, vec!["tasks.100.>".to_owned()], first);
            let mut read = 0;
            let mut last = StreamSeq(0);
            while read < REPLAYED {
                let batch = tail.next_batch(1000).await?;
                last = batch.last().map_or(last, |record| record.seq);
                read += batch.len();
            }
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (kind, took) in KINDS[1..].iter().zip(took) {
        println!(
            "a replay of {REPLAYED} records among {OTHERS}: {} {:.0} ms",
            kind.name(),
            median(took)
        );
    }
    Ok(())
}
