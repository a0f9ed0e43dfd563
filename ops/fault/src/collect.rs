//! Collects the evidence of a run, once all faults are healed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use serde_json::Value;
use tokio::time::sleep;
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq};

use crate::checker::{Entry, Listed, Restated, Step};
use crate::client::{Client, Reply};
use crate::recorder::{Kept, Recorder, Said};
use crate::seeded::Seeded;

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

/// The part of the log that has been taken from the recorder so far.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) entries: Vec<Entry>,
    /// Restatements, which change nothing about a task.
    pub(crate) restated: Vec<Restated>,
    /// Records whose payload holds the API key.
    pub(crate) leaks: Vec<u64>,
    open: std::collections::HashSet<String>,
    webhooks: std::collections::HashSet<String>,
}

impl Reading {
    /// Reads on until every task has ended and every completion webhook is delivered or given up.
    /// Planted records are ignored.
    pub(crate) async fn until_all_ended(
        &mut self,
        log: &JetStreamLog,
        recorder: &Recorder,
        planted: &[u64],
    ) -> Result<()> {
        let (mut progress, mut read_to) = (Instant::now(), StreamSeq(0));
        loop {
            let last = log.bounds(Stream::Tasks).await?.last;
            for kept in recorder.take_up_to(last).await? {
                self.take(kept, planted)?;
            }
            if self.open.is_empty() && self.webhooks.is_empty() {
                return Ok(());
            }
            if last > read_to {
                (progress, read_to) = (Instant::now(), last);
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

    fn take(&mut self, kept: Kept, planted: &[u64]) -> Result<()> {
        if kept.leaks {
            self.leaks.push(kept.seq);
        }
        if planted.contains(&kept.seq) {
            return Ok(());
        }
        match kept.event.map_err(anyhow::Error::msg)? {
            Said::Happened(entry) => self.note(entry),
            Said::Restated(restated) => self.restated.push(restated),
            Said::Heartbeat => {}
        }
        Ok(())
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

    /// The tasks that the log still has when it begins at `first`: those whose creation or latest restatement it has.
    pub(crate) fn kept(&self, first: u64) -> Vec<&str> {
        let created = self.entries.iter().filter_map(|entry| match entry.step {
            Step::Created(_) => Some((entry.task.as_str(), entry.seq)),
            _ => None,
        });
        let restated = self.restated.iter();
        let restated = restated.map(|restated| (restated.task.as_str(), restated.seq));
        let kept: BTreeSet<&str> = created
            .chain(restated)
            .filter(|(_, seq)| *seq >= first)
            .map(|(task, _)| task)
            .collect();
        kept.into_iter().collect()
    }
}

/// All tasks as the API lists them, once as many as expected are listed as ended, or when time has
/// run out.
pub(crate) async fn list(client: &Client, expected: usize) -> Result<Vec<Listed>> {
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
            None => "/v1/tasks?kind=all&limit=100&fields=id,status".to_owned(),
            Some(cursor) => {
                format!("/v1/tasks?kind=all&limit=100&fields=id,status&cursor={cursor}")
            }
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

/// Some of these tasks as the API shows them one by one.
pub(crate) async fn sample(client: &Client, tasks: &[&str], seed: u64) -> Result<Vec<Listed>> {
    let mut random = Seeded::new(seed, 0);
    let mut read = Vec::new();
    let give_up = Instant::now() + CATCH_UP;
    for _ in 0..SAMPLE.min(tasks.len()) {
        if let Some(id) = random.pick(tasks) {
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
