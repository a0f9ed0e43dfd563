//! Workflows of a hundred tasks, called and pulled, which are created while faults happen; some are cancelled, and some that fail are retried.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::Told;
use crate::client::{Client, Reply};
use crate::seeded::Seeded;
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// Queues of their tasks, in several partitions. Workers claim from them too.
pub(crate) const QUEUES: [&str; 3] = ["flow-a", "flow-b", "flow-c"];
/// Tasks of a workflow: so many rows of so many, each of which runs after some of the row before.
const ROWS: usize = 5;
const WIDTH: usize = 20;
const TASKS: usize = ROWS * WIDTH;
/// From one workflow to the next one. A hundred tasks in that time are few beside those of the other clients.
const EVERY: Duration = Duration::from_secs(20);
/// How long a workflow goes on at most before it is cancelled, in milliseconds.
const GOES_ON_MS: u64 = 2_000;
/// Pause between two looks at a workflow.
const LOOK: Duration = Duration::from_millis(500);
/// Time for a request to be answered, and for a workflow to end once all faults are healed.
const DEADLINE: Duration = Duration::from_secs(90);

/// Starts this client beside those of a workload.
pub(crate) fn start(workload: &mut Workload, client: &Client, target: &Target, seed: u64) {
    workload.add(|counters, stop| Flows::new(client, target, counters, seed, 0).run(stop));
}

/// Two more when all faults are healed: what became of them is known, whatever has left the log before.
pub(crate) async fn last(client: &Client, target: &Target, seed: u64) -> Result<Vec<Told>> {
    let mut flows = Flows::new(client, target, Arc::default(), seed, 1);
    let stop = CancellationToken::new();
    if let Some(id) = flows.create(true, &stop).await? {
        flows.retry_when_failed(&id, &stop).await?;
    }
    if let Some(id) = flows.create(false, &stop).await? {
        flows.cancel(&id, &stop).await?;
    }
    Ok(flows.told)
}

struct Flows {
    client: Client,
    counters: Arc<Counters>,
    base: String,
    random: Seeded,
    name: String,
    made: u64,
    told: Vec<Told>,
}

impl Flows {
    fn new(
        client: &Client,
        target: &Target,
        counters: Arc<Counters>,
        seed: u64,
        number: u64,
    ) -> Self {
        Self {
            client: client.clone(),
            counters,
            base: target.url(""),
            random: Seeded::new(seed, 8_000 + number),
            name: format!("s{seed}-w{number}"),
            made: 0,
            told: Vec::new(),
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        for round in 0_u64.. {
            let next = Instant::now() + EVERY;
            let fails = round % 3 == 0;
            if let Some(id) = self.create(fails, &stop).await? {
                match round % 3 {
                    0 => self.retry_when_failed(&id, &stop).await?,
                    1 => {
                        let goes_on = Duration::from_millis(self.random.below(GOES_ON_MS));
                        stop.run_until_cancelled(sleep(goes_on)).await;
                        self.cancel(&id, &stop).await?;
                    }
                    _ => {}
                }
            }
            let rest = next.saturating_duration_since(Instant::now());
            if stop.run_until_cancelled(sleep(rest)).await.is_none() {
                break;
            }
        }
        Ok(self.told)
    }

    /// A request for a workflow, in which perhaps one of the first tasks fails.
    fn workflow(&mut self, fails: bool) -> Value {
        let queue = self.random.pick(&QUEUES).copied().unwrap_or(QUEUES[0]);
        let failing = fails.then(|| self.random.below(WIDTH as u64));
        let mut tasks = Vec::with_capacity(TASKS);
        for at in 0..TASKS {
            let (row, column) = (at / WIDTH, at % WIDTH);
            let mut after = Vec::new();
            if let Some(before) = row.checked_sub(1) {
                let other = usize::try_from(self.random.below(WIDTH as u64)).unwrap_or(0);
                after.push(format!("t{}", before * WIDTH + column));
                if other != column {
                    after.push(format!("t{}", before * WIDTH + other));
                }
            }
            let body = after
                .first()
                .map(|name| format!("{{{{tasks.{name}.result.status}}}}"));
            let mut task = json!({ "maxRetries": 3, "json": { "before": body } });
            if failing == Some(at as u64) {
                task["targetUrl"] = format!("{}/status/500", self.base).into();
                task["maxRetries"] = 0.into();
            } else if self.random.percent(85) {
                let path = match self.random.below(20) {
                    0 => "/flaky/1",
                    1..4 => "/delay/300ms",
                    _ => "/",
                };
                task["targetUrl"] = format!("{}{path}", self.base).into();
            } else {
                // Pulled. Workers fail and die often, and are not to end the whole of it.
                task["maxRetries"] = 10.into();
                task["retryBackoff"] = json!(["1s"]);
            }
            let mode = if self.random.percent(20) {
                "any"
            } else {
                "all"
            };
            tasks.push(json!({
                "name": format!("t{at}"),
                "runAfter": after,
                "runAfterMode": mode,
                "task": task,
            }));
        }
        json!({ "name": "a hundred", "queue": queue, "tasks": tasks })
    }

    /// Creates a workflow, with a key until it is known whether that was done.
    async fn create(&mut self, fails: bool, stop: &CancellationToken) -> Result<Option<String>> {
        self.made += 1;
        let key = format!("{}-{}", self.name, self.made);
        let body = self.workflow(fails);
        let begin = Instant::now();
        loop {
            let sent = Instant::now();
            let reply = self
                .client
                .send(Method::POST, "/v1/workflows", Some(&key), Some(&body))
                .await?;
            self.counters.count_creation(&reply, sent.elapsed());
            if let (Some(201), Some(id)) = (reply.status(), reply.workflow("id")) {
                self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                self.told.push(Told::Flow {
                    id: id.clone(),
                    tasks: TASKS,
                });
                return Ok(Some(id));
            }
            self.told.extend(reply.trouble("create a workflow"));
            let is_final = matches!(&reply, Reply::Answer { status, .. } if *status != 503);
            if is_final || stop.is_cancelled() {
                return Ok(None);
            }
            ensure!(begin.elapsed() < DEADLINE, "no workflow: {reply:?}");
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Waits until a workflow has failed, and retries it.
    async fn retry_when_failed(&mut self, id: &str, stop: &CancellationToken) -> Result<()> {
        let path = format!("/v1/workflows/{id}");
        let begin = Instant::now();
        loop {
            let reply = self.client.send(Method::GET, &path, None, None).await?;
            self.counters.count(&reply);
            match (reply.status(), reply.workflow("status").as_deref()) {
                (Some(200), Some("failed")) => break,
                // What has ended is kept for some seconds only, now and then.
                (Some(404 | 410), _) => return Ok(()),
                (Some(200), _) => {}
                _ => self.told.extend(reply.trouble("get a workflow")),
            }
            if stop.is_cancelled() || begin.elapsed() > DEADLINE {
                return Ok(());
            }
            stop.run_until_cancelled(sleep(LOOK)).await;
        }
        if self.change(id, "retry", stop).await? {
            self.told.push(Told::FlowRetried { id: id.to_owned() });
        }
        Ok(())
    }

    async fn cancel(&mut self, id: &str, stop: &CancellationToken) -> Result<()> {
        if self.change(id, "cancel", stop).await? {
            self.told.push(Told::FlowCancelled {
                id: id.to_owned(),
                told_ms: now().0,
            });
        }
        Ok(())
    }

    /// Asks until there is an answer; returns whether it was 200.
    async fn change(&mut self, id: &str, what: &str, stop: &CancellationToken) -> Result<bool> {
        let path = format!("/v1/workflows/{id}/{what}");
        loop {
            let reply = self.client.send(Method::POST, &path, None, None).await?;
            self.counters.count(&reply);
            match reply.status() {
                Some(200) => return Ok(true),
                // It has ended or left the log, or a request without an answer was carried out.
                Some(404 | 409 | 410) => return Ok(false),
                _ => self.told.extend(reply.trouble("change a workflow")),
            }
            if stop.is_cancelled() {
                return Ok(false);
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}
