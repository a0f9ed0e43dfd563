//! Somebody who does one thing to many tasks: retries dead letters at a rate, changes priorities and undoes that, and calls an operation off.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::Told;
use crate::client::{Client, Reply};
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// The queue of all these tasks.
const QUEUE: &str = "steered";
/// Tasks of an operation: more than are taken before it is called off.
const TASKS: usize = 6;
/// How many of them a second an operation takes.
const RATE: u32 = 2;
/// How far ahead tasks are due that wait: further than an operation takes while any fault lasts.
const AHEAD: Duration = Duration::from_secs(600);
/// Priorities before and after a change.
const PRIORITIES: (u8, u8) = (3, 8);
/// How long an operation goes on before it is called off, and how long nothing may happen after that.
const GOES_ON: Duration = Duration::from_secs(1);
const IS_CALM: Duration = Duration::from_secs(2);
/// Pause between two looks, and time for an operation to be done, whatever fault there is.
const LOOK: Duration = Duration::from_millis(250);
const DEADLINE: Duration = Duration::from_secs(90);

/// Starts this client beside those of a workload.
pub(crate) fn start(workload: &mut Workload, client: &Client, target: &Target, seed: u64) {
    workload.add(|counters, stop| {
        let steerer = Steerer {
            client: client.clone(),
            counters,
            base: target.url(""),
            name: format!("s{seed}-o"),
            made: 0,
            told: Vec::new(),
        };
        steerer.run(stop)
    });
}

struct Steerer {
    client: Client,
    counters: Arc<Counters>,
    base: String,
    name: String,
    made: u64,
    told: Vec<Told>,
}

impl Steerer {
    /// Each round is brought to its end, since nothing that is due later may be left.
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            self.retry_letters().await?;
            let ids = self.waiting_tasks().await?;
            self.change_and_undo(&ids).await?;
            self.call_off(&ids).await?;
        }
        Ok(self.told)
    }

    /// Creates tasks that fail for good, and has them retried at a rate.
    async fn retry_letters(&mut self) -> Result<()> {
        let mut ids = Vec::new();
        for _ in 0..TASKS {
            let task = json!({ "targetUrl": format!("{}/status/500", self.base), "queue": QUEUE, "maxRetries": 0 });
            ids.push(self.create(task).await?);
        }
        for id in &ids {
            self.until_failed(id).await?;
        }
        let body = json!({ "ids": &ids, "rate": RATE });
        let (asked_ms, begun) = (now().0, Instant::now());
        let operation = self.begin("/v1/dead-letters/retry", Some(&body)).await?;
        let is_done = self.until_completed(&operation, begun).await?;
        self.told.push(Told::Retried {
            ids,
            rate: RATE,
            asked_ms,
            is_done,
        });
        Ok(())
    }

    async fn waiting_tasks(&mut self) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for _ in 0..TASKS {
            let task = json!({
                "targetUrl": format!("{}/", self.base),
                "queue": QUEUE,
                "priority": PRIORITIES.0,
                "delayUntil": now().plus(AHEAD).to_rfc3339(),
            });
            ids.push(self.create(task).await?);
        }
        Ok(ids)
    }

    async fn change_and_undo(&mut self, ids: &[String]) -> Result<()> {
        let body = json!({ "action": "changePriority", "priority": PRIORITIES.1, "ids": ids });
        let begun = Instant::now();
        let change = self.begin("/v1/operations", Some(&body)).await?;
        let mut is_done = self.until_completed(&change, begun).await?;
        if is_done {
            let begun = Instant::now();
            let path = format!("/v1/operations/{change}/undo");
            let undo = self.begin(&path, None).await?;
            is_done = self.until_completed(&undo, begun).await?;
        }
        self.told.push(Told::PrioritiesUndone {
            ids: ids.to_vec(),
            priorities: PRIORITIES,
            is_done,
        });
        Ok(())
    }

    /// Begins to cancel them, one a second, calls that off, and then cancels what is left.
    async fn call_off(&mut self, ids: &[String]) -> Result<()> {
        let body = json!({ "action": "cancel", "rate": 1, "ids": ids });
        let operation = self.begin("/v1/operations", Some(&body)).await?;
        sleep(GOES_ON).await;
        let path = format!("/v1/operations/{operation}/cancel");
        let called_off = self
            .answer("call an operation off", &path, None, None)
            .await?;
        let told_ms = now().0;
        sleep(IS_CALM).await;
        let until_ms = now().0;
        let body = json!({ "action": "cancel", "ids": ids });
        let begun = Instant::now();
        let rest = self.begin("/v1/operations", Some(&body)).await?;
        let is_done = self.until_completed(&rest, begun).await?;
        // Otherwise it was over: the fault lasted for longer than it took.
        if called_off.status() == Some(200) {
            self.told.push(Told::CalledOff {
                ids: ids.to_vec(),
                told_ms,
                until_ms,
                is_done,
            });
        }
        Ok(())
    }

    /// Creates a task.
    async fn create(&mut self, task: Value) -> Result<String> {
        let key = self.key();
        let begin = Instant::now();
        let reply = self
            .answer("create", "/v1/tasks", Some(&key), Some(&task))
            .await?;
        self.counters.count_creation(&reply, begin.elapsed());
        let id = reply
            .task("id")
            .with_context(|| format!("create: {reply:?}"))?;
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.told.push(Told::Accepted {
            key: Some(key),
            id: id.clone(),
        });
        Ok(id)
    }

    /// Begins an operation, and returns its id.
    async fn begin(&mut self, path: &str, body: Option<&Value>) -> Result<String> {
        let key = self.key();
        let reply = self
            .answer("begin an operation", path, Some(&key), body)
            .await?;
        let id = reply.operation("id");
        id.with_context(|| format!("begin an operation: {reply:?}"))
    }

    fn key(&mut self) -> String {
        self.made += 1;
        format!("{}-{}", self.name, self.made)
    }

    /// Repeats a request until it has an answer that repeating it would not change.
    async fn answer(
        &mut self,
        what: &'static str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Reply> {
        let begin = Instant::now();
        loop {
            let reply = self.client.send(Method::POST, path, key, body).await?;
            self.counters.count(&reply);
            if reply.status().is_some_and(|status| status != 503) {
                return Ok(reply);
            }
            self.told.extend(reply.trouble(what));
            ensure!(begin.elapsed() < DEADLINE, "{what}: {reply:?}");
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn get(&mut self, path: &str) -> Result<Reply> {
        let reply = self.client.send(Method::GET, path, None, None).await?;
        self.counters.count(&reply);
        if !matches!(reply.status(), Some(200 | 404)) {
            self.told.extend(reply.trouble("look at an operation"));
        }
        Ok(reply)
    }

    /// Waits until an operation is completed. Returns false if it is not in good time.
    async fn until_completed(&mut self, operation: &str, begun: Instant) -> Result<bool> {
        let path = format!("/v1/operations/{operation}");
        while begun.elapsed() < DEADLINE {
            if self.get(&path).await?.operation("state").as_deref() == Some("completed") {
                return Ok(true);
            }
            sleep(LOOK).await;
        }
        Ok(false)
    }

    /// Waits until a task has failed. It may be gone by then.
    async fn until_failed(&mut self, id: &str) -> Result<()> {
        let (path, begin) = (format!("/v1/tasks/{id}"), Instant::now());
        loop {
            let reply = self.get(&path).await?;
            match (reply.status(), reply.task("status").as_deref()) {
                (Some(200), Some("failed")) => return Ok(()),
                (Some(404), _) => {
                    let (id, told_ms) = (id.to_owned(), now().0);
                    self.told.push(Told::NotFound { id, told_ms });
                    return Ok(());
                }
                _ => ensure!(begin.elapsed() < DEADLINE, "{id} has not failed: {reply:?}"),
            }
            sleep(LOOK).await;
        }
    }
}
