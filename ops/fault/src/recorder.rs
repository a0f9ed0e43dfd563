//! Reads the log of tasks while a run goes on: what has ended may have left it before the run is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use waybill_domain::event::{PartitionOwned, Standing, TaskEvent, TaskRestated};
use waybill_log::{JetStreamLog, Log, ReadError, Record, Stream, StreamSeq};

use crate::checker::{Entry, Purge, Restated, Step, Stood};
use crate::fleet::Fleet;

/// Records read at a time.
const PAGE: usize = 1_000;
/// Pause between two looks. Far shorter than anything is kept.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the log may be out of reach: longer than any fault lasts.
const OUT_OF_REACH: Duration = Duration::from_secs(120);

/// Reads until it is dropped.
pub(crate) struct Recorder {
    shared: Arc<Mutex<Recorded>>,
    reader: JoinHandle<()>,
}

/// What was read and not yet taken, and how far.
#[derive(Default)]
struct Recorded {
    read: Vec<Kept>,
    /// Every record before this position has been read.
    next: u64,
    /// Position and task of each restatement, for whoever waits for one.
    restated: Vec<(u64, String)>,
    purges: Vec<Purge>,
    /// Why nothing more is read.
    broken: Option<String>,
}

/// A record that is no fence.
pub(crate) struct Kept {
    pub(crate) seq: u64,
    /// Whether its payload holds the API key.
    pub(crate) leaks: bool,
    /// What it says, or why it cannot be read.
    pub(crate) event: Result<Said, String>,
}

/// What an event says.
pub(crate) enum Said {
    /// What happened to a task.
    Happened(Entry),
    /// How an open task stands, which changes nothing about it, and is not streamed.
    Restated(Restated),
    /// A worker says that it is alive: nothing happened to the task, and streams do not show it.
    Heartbeat,
}

impl Recorder {
    /// Begins at the start of the log.
    pub(crate) fn start(log: JetStreamLog, fleet: &Fleet) -> Self {
        let shared = Arc::<Mutex<Recorded>>::default();
        let secret = fleet.key_bytes();
        let reader = tokio::spawn(read(log, secret, Arc::clone(&shared)));
        Self { shared, reader }
    }

    /// Waits until everything up to a position has been read, and returns what was read since the last call.
    pub(crate) async fn take_up_to(&self, last: StreamSeq) -> Result<Vec<Kept>> {
        loop {
            {
                let mut shared = self.shared.lock();
                if let Some(broken) = &shared.broken {
                    bail!("{broken}");
                }
                if shared.next > last.0 {
                    return Ok(std::mem::take(&mut shared.read));
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// How far the log was purged, in order.
    pub(crate) fn purges(&self) -> Vec<Purge> {
        self.shared.lock().purges.clone()
    }

    /// The first position that the log still has, as far as is known.
    pub(crate) fn first(&self) -> u64 {
        self.shared
            .lock()
            .purges
            .last()
            .map_or(0, |purge| purge.first)
    }

    /// Whether a task was restated behind a position.
    pub(crate) fn has_restated(&self, task: &str, after: u64) -> bool {
        let shared = self.shared.lock();
        shared
            .restated
            .iter()
            .any(|(seq, id)| *seq > after && id == task)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(log: JetStreamLog, secret: Vec<u8>, shared: Arc<Mutex<Recorded>>) {
    let mut reached = Instant::now();
    loop {
        match look(&log, &secret, &shared).await {
            Ok(()) => reached = Instant::now(),
            // The checks would take what is missing for lost.
            Err(ReadError::Gap { from, first, .. }) => {
                let outrun = format!(
                    "the log was purged from {from} up to {first} before the harness had read it"
                );
                shared.lock().broken = Some(outrun);
                return;
            }
            Err(error) if reached.elapsed() > OUT_OF_REACH => {
                shared.lock().broken = Some(format!("the harness cannot read the log: {error}"));
                return;
            }
            // A fault: it will be healed.
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// Reads what is new.
async fn look(
    log: &JetStreamLog,
    secret: &[u8],
    shared: &Mutex<Recorded>,
) -> Result<(), ReadError> {
    let bounds = log.bounds(Stream::Tasks).await?;
    let (first, last) = (bounds.first, bounds.last);
    loop {
        let from = StreamSeq(shared.lock().next.max(1));
        if from > last {
            break;
        }
        if from.0 > 1 && first > from {
            let stream = Stream::Tasks.name();
            return Err(ReadError::Gap {
                stream,
                from,
                first,
            });
        }
        let page = log.range(Stream::Tasks, &[], from, last, PAGE).await?;
        let is_last = page.len() < PAGE;
        let mut shared = shared.lock();
        for record in &page {
            shared.next = record.seq.0 + 1;
            if record.event == PartitionOwned::NAME {
                continue;
            }
            let kept = kept(record, secret);
            if let Ok(Said::Restated(restated)) = &kept.event {
                shared.restated.push((restated.seq, restated.task.clone()));
            }
            shared.read.push(kept);
        }
        if is_last {
            shared.next = last.0 + 1;
        }
    }
    let mut shared = shared.lock();
    let known = shared.purges.last().map_or(1, |purge| purge.first);
    if first.0 > known {
        shared.purges.push(Purge {
            first: first.0,
            last: last.0,
        });
    }
    Ok(())
}

fn kept(record: &Record, secret: &[u8]) -> Kept {
    let event = TaskEvent::decode(&record.event, &record.payload)
        .with_context(|| format!("TASKS {}", record.seq))
        .map_err(|error| format!("{error:#}"));
    Kept {
        seq: record.seq.0,
        leaks: record
            .payload
            .windows(secret.len())
            .any(|window| window == secret),
        event: event.map(|event| match event {
            TaskEvent::Restated(restated) => Said::Restated(stood(record, &restated)),
            TaskEvent::Progressed(event) if event.progress().is_none() => Said::Heartbeat,
            event => Said::Happened(Entry {
                seq: record.seq.0,
                stored_ms: record.time.0,
                at_ms: event.at().0,
                task: event.id().to_string(),
                probe: matches!(&event, TaskEvent::Started(started) if started.probe),
                step: Step::of(&event),
            }),
        }),
    }
}

fn stood(record: &Record, restated: &TaskRestated) -> Restated {
    Restated {
        seq: record.seq.0,
        stored_ms: record.time.0,
        task: restated.created.id.to_string(),
        created: restated.position.0,
        attempts: restated.attempts,
        key: restated.created.idempotency_key.clone(),
        stood: match restated.standing {
            Standing::Waiting { .. } | Standing::Ready { .. } => Stood::Idle,
            Standing::Running { attempt, .. } => Stood::Running(attempt),
            Standing::Ended { .. } => Stood::Ended,
        },
    }
}
