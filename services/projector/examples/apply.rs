//! How fast events are projected, without a log: `cargo run --release -p waybill-projector --example apply [tasks]`.
//!
//! Each task has three events and a body of 512 bytes. `near`: they come in one batch, as when the queue is short; `far`: each in another
//! one, as when it is long.

use std::error::Error;
use std::time::{Duration, Instant};

use waybill_domain::actor::Actor;
use waybill_domain::event::{
    Answer, BodyEncoding, TaskCreated, TaskEvent, TaskStarted, TaskSucceeded,
};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::{Backoff, Method, Priority};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{Bounds, Record, Stream, StreamSeq};
use waybill_projector::model::{self, Incarnations, Projection};

const QUEUES: u64 = 16;
const SYNC_EVERY: Duration = Duration::from_millis(250);

fn main() -> Result<(), Box<dyn Error>> {
    let tasks = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 100_000,
    };
    // A batch of 240 is what gathers in 20 ms at 12,000 events a second.
    for (name, batch, apart) in [
        ("near, batches of 240", 240, 40),
        ("far,  batches of 240", 240, 4_000),
        ("far,  batches of 1000", 1_000, 20_000),
    ] {
        run(name, tasks, batch, apart)?;
    }
    Ok(())
}

fn run(name: &str, tasks: u64, batch: usize, apart: u64) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::TempDir::new()?;
    let store = model::open(folder.path(), 64 * 1024 * 1024)?.store;
    let bounds = Bounds {
        first: StreamSeq(1),
        last: StreamSeq(0),
        incarnation: 1,
    };
    let mut projection = Projection::resume(store.clone(), Incarnations::new(&bounds, &bounds))?;
    let mut source = Source { seq: 0 };
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
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (events, thousands) = (source.seq as f64, tasks as f64 / 1000.0);
    #[expect(clippy::print_stdout, reason = "this is what the program is for")]
    {
        println!(
            "{name}: {:.0} events/s, {:.4} CPU s per 1000 tasks, {:.1} MB on disk",
            events / wall.as_secs_f64(),
            cpu.as_secs_f64() / thousands,
            store.disk_bytes() as f64 / 1e6,
        );
    }
    Ok(())
}

/// CPU time of all threads, those that compact the store included.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(at.tv_sec)?,
        u32::try_from(at.tv_nsec)?,
    ))
}

struct Source {
    seq: u64,
}

impl Source {
    fn record(&mut self, number: u64, kind: u8) -> Result<Record, Box<dyn Error>> {
        self.seq += 1;
        let partition = Partition::new(u16::try_from(number % QUEUES)?).ok_or("a partition")?;
        let at = Timestamp(1_700_000_000_000 + i64::try_from(self.seq)?);
        let created_at = Timestamp(1_700_000_000_000 + i64::try_from(number)?);
        let id = TaskId::new(created_at, u128::from(number), partition);
        let team = TeamId::new(Timestamp(1), 1);
        let queue = QueueName::parse(&format!("queue-{}", number % QUEUES))?;
        let event = match kind {
            0 => TaskEvent::Created(Box::new(TaskCreated {
                id,
                team: team.clone(),
                queue: queue.clone(),
                url: format!("http://127.0.0.1:9000/hooks/{number}"),
                method: Method::Post,
                headers: vec![("content-type".into(), "application/json".into())],
                body: Some("x".repeat(512)),
                timeout_ms: 30_000,
                max_wait_ms: 30_000,
                not_before: None,
                max_retries: 3,
                backoff: Backoff::Exponential,
                retry_on: None,
                priority: Priority::DEFAULT,
                follow_redirects: false,
                on_complete_url: None,
                idempotency_key: None,
                fingerprint: None,
                at,
            })),
            1 => TaskEvent::Started(TaskStarted {
                id,
                attempt: 1,
                at,
                lease_until: at,
            }),
            _ => TaskEvent::Succeeded(TaskSucceeded {
                id,
                attempt: 1,
                at,
                answer: Answer {
                    status: 200,
                    headers: vec![("content-type".into(), "text/plain".into())],
                    body: "ok".into(),
                    encoding: BodyEncoding::Text,
                    body_bytes: 2,
                    duration_ms: 3,
                },
            }),
        };
        Ok(Record {
            seq: StreamSeq(self.seq),
            time: at,
            subject: TaskSubject::event(partition, &team, &queue, event.kind()).to_string(),
            event: event.name().into(),
            actor: match kind {
                0 => "key:key_4fG7aB2x".into(),
                _ => Actor::worker().to_string(),
            },
            traceparent: None,
            msg_id: None,
            payload: event.encode().into(),
        })
    }
}
