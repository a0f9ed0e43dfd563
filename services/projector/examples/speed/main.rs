//! Measures how fast events are projected: `cargo run --release -p waybill-projector --example
//! speed [tasks]`.
//!
//! Each task has three events and a body of 512 bytes. `near`: the events are in one batch, as when
//! the queue is short; `far`: each is in another batch, as when it is long. `rebuild` reads them
//! from a real nats-server, whose CPU time is not counted.

mod source;

use std::error::Error;
use std::time::{Duration, Instant};

use std::sync::Arc;

use source::Source;
use waybill_log::jetstream::NatsConfig;
use waybill_log::{
    Append, Atomicity, Bounds, Expectation, Log, MAX_BATCH, NewRecord, Stream, StreamSeq, connect,
};
use waybill_projector::model::{self, Incarnations, Projection};
use waybill_testkit::NatsServer;

const CACHE_BYTES: u64 = 64 * 1024 * 1024;
const SYNC_EVERY: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn Error>> {
    let tasks = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 100_000,
    };
    // 240 events arrive within 20 ms at 12,000 events per second.
    for (name, batch, apart) in [
        ("near, batches of 240", 240, 40),
        ("far,  batches of 240", 240, 4_000),
        ("far,  batches of 1000", 1_000, 20_000),
    ] {
        apply(name, tasks, batch, apart)?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(rebuild(tasks))
}

async fn rebuild(tasks: u64) -> Result<(), Box<dyn Error>> {
    let server = NatsServer::start().await?;
    let log: Arc<dyn Log> = Arc::new(connect(&NatsConfig::at(server.url())).await?);
    let mut source = Source::default();
    let mut records = Vec::new();
    for number in 0..tasks {
        for kind in 0..3 {
            records.push(source.record(number, kind)?);
        }
        if records.len() + 3 > MAX_BATCH || number + 1 == tasks {
            let records = std::mem::take(&mut records);
            let append = Append {
                stream: Stream::Tasks,
                records: records.into_iter().map(new_record).collect(),
                expect: Expectation::None,
                atomicity: Atomicity::Ordered,
                msg_id: None,
            };
            log.append(append).await?;
        }
    }
    let folder = tempfile::TempDir::new()?;
    let (from, cpu_from) = (Instant::now(), cpu_time()?);
    let rebuilt = waybill_projector::rebuild(&log, folder.path(), CACHE_BYTES).await?;
    let cpu = cpu_time()?.saturating_sub(cpu_from);
    say(
        "rebuild, over NATS",
        rebuilt.at.tasks.0,
        tasks,
        from.elapsed(),
        cpu,
    );
    Ok(())
}

fn new_record(record: waybill_log::Record) -> NewRecord {
    NewRecord {
        subject: record.subject,
        event: match record.event.as_str() {
            "task.created.v1" => "task.created.v1",
            "task.started.v1" => "task.started.v1",
            _ => "task.succeeded.v1",
        },
        actor: record.actor,
        traceparent: None,
        origin: None,
        payload: record.payload,
    }
}

fn say(name: &str, events: u64, tasks: u64, wall: Duration, cpu: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (events, thousands) = (events as f64, tasks as f64 / 1000.0);
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    {
        println!(
            "{name}: {:.0} events/s, {:.4} CPU s per 1000 tasks",
            events / wall.as_secs_f64(),
            cpu.as_secs_f64() / thousands,
        );
    }
}

fn apply(name: &str, tasks: u64, batch: usize, apart: u64) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::TempDir::new()?;
    let store = model::open(folder.path(), CACHE_BYTES)?.store;
    let bounds = Bounds {
        first: StreamSeq(1),
        last: StreamSeq(0),
        incarnation: 1,
        messages: 0,
        positions: waybill_log::Positions::OF_MESSAGES,
        bytes: 0,
        max_bytes: None,
        now: waybill_domain::time::Timestamp(0),
    };
    let mut projection = Projection::resume(store.clone(), Incarnations::new(&bounds, &bounds))?;
    let mut source = Source::default();
    let mut pending = Vec::new();
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    let mut synced = Instant::now();
    let steps = tasks + 2 * apart;
    for step in 0..steps {
        for (kind, at) in [
            (0, Some(step)),
            (1, step.checked_sub(apart)),
            (2, step.checked_sub(2 * apart)),
        ] {
            if let Some(number) = at.filter(|&number| number < tasks) {
                pending.push(source.record(number, kind)?);
            }
        }
        if pending.len() >= batch || step + 1 == steps {
            let (from, cpu_from) = (Instant::now(), cpu_time()?);
            projection.apply(Stream::Tasks, &pending)?;
            if synced.elapsed() > SYNC_EVERY {
                store.sync()?;
                synced = Instant::now();
            }
            wall += from.elapsed();
            cpu += cpu_time()?.saturating_sub(cpu_from);
            pending.clear();
        }
    }
    say(name, source.seq, tasks, wall, cpu);
    Ok(())
}

/// CPU time of all threads, including those that compact the store.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(at.tv_sec)?,
        u32::try_from(at.tv_nsec)?,
    ))
}
