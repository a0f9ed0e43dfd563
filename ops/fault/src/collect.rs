//! Collects the evidence of a run, once all faults are healed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::Value;
use tokio::time::sleep;
use waybill_domain::event::{PartitionOwned, TaskEvent};
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq};

use crate::checker::{Entry, Listed, Step};
use crate::client::{Client, Reply};
use crate::fleet::Fleet;
use crate::seeded::Seeded;

/// Records read at a time.
const PAGE: usize = 1_000;
/// Pause between two polls.
const POLL: Duration = Duration::from_millis(250);
/// If there is no new event for this long, tasks that are still open will not end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time for the read model to catch up with the log.
const CATCH_UP: Duration = Duration::from_secs(30);
/// How much longer it takes for each task to list them all.
const LIST_EACH: Duration = Duration::from_micros(500);
/// How many tasks are read one by one.
const SAMPLE: usize = 300;

/// The part of the log that has been read so far.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) entries: Vec<Entry>,
    /// Records whose payload holds the API key.
    pub(crate) leaks: Vec<u64>,
    next: u64,
    open: std::collections::HashSet<String>,
    webhooks: std::collections::HashSet<String>,
}

impl Reading {
    /// Reads on until every task has ended and every completion webhook is delivered or given up.
    /// Planted records are ignored.
    pub(crate) async fn until_all_ended(
        &mut self,
        log: &JetStreamLog,
        fleet: &Fleet,
        planted: &[u64],
    ) -> Result<()> {
        let mut progress = Instant::now();
        loop {
            let before = self.next;
            self.read_on(log, fleet, planted).await?;
            if self.open.is_empty() && self.webhooks.is_empty() {
                return Ok(());
            }
            if self.next > before {
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                // The checks will report which ones.
                eprintln!(
                    "waybill-fault: {} tasks and {} webhooks are still open after {PATIENCE:?} without an event",
                    self.open.len(),
                    self.webhooks.len()
                );
                return Ok(());
            }
            sleep(POLL).await;
        }
    }

    /// Reads the records that are new since the last call.
    async fn read_on(&mut self, log: &JetStreamLog, fleet: &Fleet, planted: &[u64]) -> Result<()> {
        let last = log.bounds(Stream::Tasks).await?.last;
        loop {
            let from = StreamSeq(self.next.max(1));
            if from > last {
                return Ok(());
            }
            let page = log.range(Stream::Tasks, &[], from, last, PAGE).await?;
            let complete = page.len() < PAGE;
            for record in page {
                self.next = record.seq.0 + 1;
                if fleet.holds_key(&record.payload) {
                    self.leaks.push(record.seq.0);
                }
                if record.event == PartitionOwned::NAME || planted.contains(&record.seq.0) {
                    continue;
                }
                let event = TaskEvent::decode(&record.event, &record.payload)
                    .with_context(|| format!("TASKS {}", record.seq))?;
                // A restatement changes nothing about the task, and streams do not show it.
                if matches!(event, TaskEvent::Restated(_)) {
                    continue;
                }
                self.note(Entry {
                    seq: record.seq.0,
                    stored_ms: record.time.0,
                    at_ms: event.at().0,
                    task: event.id().to_string(),
                    step: Step::of(&event),
                });
            }
            if complete {
                self.next = last.0 + 1;
                return Ok(());
            }
        }
    }

    fn note(&mut self, entry: Entry) {
        let id = &entry.task;
        if let Step::Created(request) = &entry.step {
            self.open.insert(id.clone());
            if request.webhook {
                self.webhooks.insert(id.clone());
            }
        }
        if entry.step.ends().is_some() {
            self.open.remove(id);
        }
        if entry.step.closes_webhook() {
            self.webhooks.remove(id);
        }
        self.entries.push(entry);
    }

    /// Position of the last event of a task.
    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.seq)
    }

    fn tasks(&self) -> Vec<&str> {
        let created = |entry: &&Entry| matches!(entry.step, Step::Created(_));
        self.entries
            .iter()
            .filter(created)
            .map(|entry| entry.task.as_str())
            .collect()
    }
}

/// All tasks as the API lists them, once as many as expected are listed as ended, or when time has
/// run out.
pub(crate) async fn list(client: &Client, reading: &Reading) -> Result<Vec<Listed>> {
    let expected = reading.tasks().len();
    let in_all = LIST_EACH * u32::try_from(expected).unwrap_or(u32::MAX);
    let give_up = Instant::now() + CATCH_UP + in_all;
    loop {
        let listed = list_once(client, give_up).await?;
        let is_open =
            |task: &Listed| ["pending", "delayed", "processing"].contains(&task.status.as_str());
        if (listed.len() == expected && !listed.iter().any(is_open)) || Instant::now() > give_up {
            return Ok(listed);
        }
        sleep(POLL).await;
    }
}

async fn list_once(client: &Client, give_up: Instant) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let path = match &cursor {
            None => "/v1/tasks?limit=100".to_owned(),
            Some(cursor) => format!("/v1/tasks?limit=100&cursor={cursor}"),
        };
        let page = get(client, &path, give_up).await?;
        let tasks = page["tasks"].as_array().context("a list of tasks")?;
        listed.extend(tasks.iter().filter_map(listed_of));
        cursor = page["pagination"]["nextCursor"].as_str().map(Into::into);
        if cursor.is_none() {
            return Ok(listed);
        }
    }
}

/// Some tasks as the API shows them one by one.
pub(crate) async fn sample(client: &Client, reading: &Reading, seed: u64) -> Result<Vec<Listed>> {
    let tasks = reading.tasks();
    let mut random = Seeded::new(seed, 0);
    let mut read = Vec::new();
    let give_up = Instant::now() + CATCH_UP;
    for _ in 0..SAMPLE.min(tasks.len()) {
        if let Some(id) = random.pick(&tasks) {
            let answer = get(client, &format!("/v1/tasks/{id}"), give_up).await?;
            read.extend(listed_of(&answer["task"]));
        }
    }
    Ok(read)
}

fn listed_of(task: &Value) -> Option<Listed> {
    let text = |field: &str| Some(task[field].as_str()?.to_owned());
    Some(Listed {
        id: text("id")?,
        status: text("status")?,
    })
}

/// Reads from the API. All faults are healed, so this must succeed at once or very soon.
async fn get(client: &Client, path: &str, give_up: Instant) -> Result<Value> {
    loop {
        match client.send(Method::GET, path, None, None).await? {
            Reply::Answer {
                status: 200, body, ..
            } => return Ok(body),
            other if Instant::now() > give_up => bail!("GET {path}: {other:?}"),
            _ => sleep(POLL).await,
        }
    }
}
