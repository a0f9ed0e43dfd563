//! Appends per second and their latency, at several concurrencies, on a private server that syncs before every acknowledgement.
//!
//! `cargo run --release -p waybill-log --example append_probe -- [seconds] [concurrency]...`

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, MsgId, NatsConfig, NewRecord, Stream,
    StreamSeq, connect, connect_alone,
};
use waybill_testkit::NatsServer;

/// As the bodies in the goals of the project.
const PAYLOAD: usize = 512;
const SECONDS: u64 = 3;
const CONCURRENCIES: [u64; 6] = [1, 8, 32, 256, 1024, 4096];

#[derive(Clone, Copy)]
enum Load {
    /// What workers append, and gateways without idempotency keys.
    Plain,
    /// What gateways append for an idempotency key: never in a batch.
    Identified,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(SECONDS), |text| text.parse())?;
    let mut concurrencies = arguments
        .map(|text| text.parse())
        .collect::<Result<Vec<u64>, _>>()?;
    if concurrencies.is_empty() {
        concurrencies = CONCURRENCIES.to_vec();
    }
    // A server for each, so that neither reads what the other has written; they are loaded in turn.
    let (single, framed) = (NatsServer::start().await?, NatsServer::start().await?);
    let single_log = connect(&NatsConfig::at(single.url())).await?;
    let framed_log = connect_alone(&NatsConfig::at(framed.url())).await?;
    println!(
        "{:>12} {:>12} {:>11} {:>9} {:>9} {:>9}",
        "load", "concurrency", "appends/s", "p50 ms", "p99 ms", "max ms"
    );
    for &concurrency in &concurrencies {
        for (name, log, load) in [
            ("singles", &single_log, Load::Plain),
            ("frames", &framed_log, Load::Plain),
            ("identified", &framed_log, Load::Identified),
        ] {
            let run = run(log, load, concurrency, Duration::from_secs(seconds)).await?;
            let [p50, p99, max] = run.latencies.map(|latency| latency.as_secs_f64() * 1e3);
            println!(
                "{name:>12} {concurrency:>12} {:>11.0} {p50:>9.2} {p99:>9.2} {max:>9.2}",
                run.rate
            );
        }
    }
    for (name, log) in [("singles", &single_log), ("frames", &framed_log)] {
        println!("{name}:");
        read_again(log).await?;
    }
    Ok(())
}

struct Run {
    rate: f64,
    latencies: [Duration; 3],
}

async fn run(log: &JetStreamLog, load: Load, concurrency: u64, time: Duration) -> Result<Run> {
    let counter = Arc::new(AtomicU64::new(log.bounds(Stream::Tasks).await?.last.0));
    let start = Instant::now();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (log, counter) = (log.clone(), Arc::clone(&counter));
        clients.spawn(async move {
            let mut latencies = Vec::new();
            while start.elapsed() < time {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                let append = an_append(load, number);
                let begin = Instant::now();
                log.append(append).await?;
                latencies.push(begin.elapsed());
            }
            Ok::<_, anyhow::Error>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(client) = clients.join_next().await {
        latencies.extend(client??);
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    Ok(Run {
        rate,
        latencies: [at(50), at(99), at(100)],
    })
}

fn an_append(load: Load, number: u64) -> Append {
    let record = NewRecord {
        subject: format!(
            "tasks.{}.team_01h2xcejqtf2nbrexx3vqjhp41.default.created",
            number % 16
        ),
        event: "task.created.v1",
        actor: "key:key_4fG7aB3c".to_owned(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        origin: None,
        payload: Bytes::from(vec![b'x'; PAYLOAD]),
    };
    Append {
        stream: Stream::Tasks,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: match load {
            Load::Plain => None,
            Load::Identified => Some(MsgId(format!("probe-{number}"))),
        },
    }
}

/// How fast everything is read again.
async fn read_again(log: &JetStreamLog) -> Result<()> {
    let last = log.bounds(Stream::Tasks).await?.last;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let start = Instant::now();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|seen| *seen < last) {
        let batch = tail.next_batch(1000).await?;
        seen.extend(batch.iter().map(|record| record.seq));
    }
    println!(
        "tail: {:.0} records/s",
        seen.len() as f64 / start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let (mut from, mut count) = (StreamSeq(1), 0);
    while count < 200_000 {
        let page = log.range(Stream::Tasks, &[], from, last, 1000).await?;
        let Some(record) = page.last() else { break };
        from = record.seq.next();
        count += page.len();
    }
    println!(
        "range: {:.0} records/s",
        count as f64 / start.elapsed().as_secs_f64()
    );
    let some: Vec<StreamSeq> = seen.into_iter().take(2000).collect();
    let start = Instant::now();
    for &seq in &some {
        log.read(Stream::Tasks, seq).await?;
    }
    println!(
        "read: {:.3} ms each",
        start.elapsed().as_secs_f64() * 1e3 / some.len() as f64
    );
    Ok(())
}
