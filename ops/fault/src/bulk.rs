//! Producers that create tasks in batches at a fixed rate, so that a long run acknowledges many.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::checker::Told;
use crate::client::{Client, Reply};
use crate::seeded::Seeded;
use crate::workload::{Counters, QUEUES, RETRY_PAUSE, Target, WEBHOOK, Workload, in_a_while};

/// Number of producers.
const PRODUCERS: u64 = 4;
/// Tasks in one batch.
const BATCH: u64 = 20;
/// Percentage of the batches whose tasks have idempotency keys.
const KEYED: u64 = 25;

/// Starts producers that together create `rate` tasks per second, beside the clients of a workload. None if it is 0.
pub(crate) fn start(
    rate: u64,
    workload: &mut Workload,
    client: &Client,
    target: &Target,
    seed: u64,
) {
    for number in 0..PRODUCERS.min(rate) {
        workload.add(|counters, stop| {
            let producer = Producer {
                client: client.clone(),
                counters,
                base: target.url(""),
                random: Seeded::new(seed, 1_000 + number),
                name: format!("s{seed}-b{number}"),
                every: Duration::from_secs(BATCH * PRODUCERS)
                    / u32::try_from(rate).unwrap_or(u32::MAX),
                made: 0,
                told: Vec::new(),
            };
            producer.run(stop)
        });
    }
}

/// One producer.
struct Producer {
    client: Client,
    counters: Arc<Counters>,
    /// Address of the target.
    base: String,
    random: Seeded,
    name: String,
    /// Time from one batch to the next. What was missed during a fault is made up for.
    every: Duration,
    made: u64,
    told: Vec<Told>,
}

impl Producer {
    /// Creates tasks until it is stopped, and returns what it was told.
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        let mut ticks = interval(self.every);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.random.percent(KEYED) {
                self.create_with_keys(&stop).await?;
            } else {
                // Without keys a batch must not be repeated.
                let batch = self.batch(false);
                self.post(&batch).await?;
            }
        }
        Ok(self.told)
    }

    /// Most of them end at once: other clients have the tasks that take long.
    fn task(&mut self, is_keyed: bool) -> Value {
        self.made += 1;
        let path = match self.random.below(100) {
            0..94 => "/",
            94..97 => "/flaky/1",
            97..99 => "/delay/300ms",
            _ => "/status/404",
        };
        let mut task = json!({
            "targetUrl": format!("{}{path}", self.base),
            "queue": format!("fault-{}", self.random.below(QUEUES)),
            "body": format!("task {} of {}", self.made, self.name),
        });
        if self.random.percent(10) {
            task["delayUntil"] = in_a_while(&mut self.random).into();
        }
        if self.random.percent(2) {
            task["onCompleteUrl"] = format!("{}{WEBHOOK}", self.base).into();
        }
        if is_keyed {
            task["idempotencyKey"] = format!("{}-{}", self.name, self.made).into();
        }
        task
    }

    fn batch(&mut self, is_keyed: bool) -> Vec<Value> {
        (0..BATCH).map(|_| self.task(is_keyed)).collect()
    }

    /// Repeats the batch until each of its tasks is accepted or refused for good.
    async fn create_with_keys(&mut self, stop: &CancellationToken) -> Result<()> {
        let batch = self.batch(true);
        while !self.post(&batch).await? && !stop.is_cancelled() {
            sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    /// Sends a batch, and returns whether the outcome of each task is final.
    async fn post(&mut self, batch: &[Value]) -> Result<bool> {
        let body = json!({ "tasks": batch });
        let begin = Instant::now();
        let reply = self
            .client
            .send(Method::POST, "/v1/tasks/batch", None, Some(&body))
            .await?;
        self.counters.count_creation(&reply, begin.elapsed());
        let results = match &reply {
            Reply::Answer {
                status: 200 | 207,
                body,
                ..
            } => body["results"].as_array(),
            _ => None,
        };
        let Some(results) = results.filter(|results| results.len() == batch.len()) else {
            self.told.extend(reply.trouble("create a batch"));
            return Ok(reply.status().is_some_and(|status| status != 503));
        };
        let mut is_final = true;
        for (task, result) in batch.iter().zip(results) {
            is_final &= self.take(task, result);
        }
        Ok(is_final)
    }

    /// Notes the outcome of one task, and returns whether it is final.
    fn take(&mut self, task: &Value, result: &Value) -> bool {
        match (result["status"].as_u64(), result["task"]["id"].as_str()) {
            (Some(201), Some(id)) => {
                self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                self.told.push(Told::Accepted {
                    key: task["idempotencyKey"].as_str().map(Into::into),
                    id: id.to_owned(),
                });
                true
            }
            (Some(503), _) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                if result["code"] != "outcome_unknown" {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
                false
            }
            (status, _) => {
                self.told.push(Told::Odd {
                    what: "create a task of a batch",
                    status: status
                        .and_then(|status| status.try_into().ok())
                        .unwrap_or(0),
                    body: result.to_string(),
                });
                true
            }
        }
    }
}
