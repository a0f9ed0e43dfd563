//! What a purge in slices costs those who append meanwhile: `purge_probe <server url> [messages]`.
//!
//! It fills TASKS, measures single appends while nothing else happens, and again while the log is purged as workers do it.

#![expect(clippy::print_stdout, reason = "what it measured is its result")]

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use waybill_log::{
    Append, Atomicity, Expectation, Log, NatsConfig, NewRecord, Stream, StreamSeq, connect,
};

/// As the janitor of a worker does it.
const SLICE: u64 = 20_000;
const SLICE_PAUSE: Duration = Duration::from_millis(20);
const APPENDS: usize = 2_000;

fn append(count: usize) -> Append {
    let record = NewRecord {
        subject: "tasks.1.team_probe.default.created".into(),
        event: "task.created.v1",
        actor: "system:probe".into(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(vec![7; 512]),
    };
    Append {
        stream: Stream::Tasks,
        records: vec![record; count],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}

async fn appends(log: &dyn Log, what: &str) -> anyhow::Result<()> {
    let mut took = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let started = Instant::now();
        log.append(append(1)).await?;
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    let at = |share: usize| took[(APPENDS - 1) * share / 1_000];
    println!(
        "{what}: p50 {:?}, p99 {:?}, p999 {:?}, longest {:?}",
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("the url of a nats-server")?;
    let messages: usize = arguments.next().map_or(Ok(500_000), |text| text.parse())?;
    let log = connect(&NatsConfig::at(url)).await?;
    for _ in 0..messages / 1_000 {
        log.append(append(1_000)).await?;
    }
    appends(&log, "alone").await?;
    let last = log.bounds(Stream::Tasks).await?.last;
    let purging = log.clone();
    let purge = tokio::spawn(async move {
        let started = Instant::now();
        let mut first = purging.bounds(Stream::Tasks).await?.first;
        while first < last {
            first = StreamSeq(first.0 + SLICE).min(last);
            purging.purge_tasks(first).await?;
            tokio::time::sleep(SLICE_PAUSE).await;
        }
        println!("purged {messages} messages in {:?}", started.elapsed());
        anyhow::Ok(())
    });
    appends(&log, "while purging").await?;
    purge.await??;
    Ok(())
}
