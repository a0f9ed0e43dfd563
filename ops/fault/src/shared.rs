//! What tasks of several queues share: limits, the windows of debounces, and a queue that is purged again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::{Rate, Shared, Told};
use crate::client::Client;
use crate::creating::create;
use crate::seeded::Seeded;
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// The keys. Each task that names one says the same about it.
const LIMITS: [(&str, Option<u32>, Option<Rate>); 3] = [
    ("shared:one", Some(1), None),
    ("shared:three", Some(3), None),
    (
        "shared:rate",
        None,
        Some(Rate {
            limit: 5,
            per_ms: 1_000,
            burst: 2,
        }),
    ),
];
/// Queues in several partitions, so that the shares of a key are asked for over both workers.
const QUEUES: [&str; 6] = [
    "shared-a", "shared-b", "shared-c", "shared-d", "shared-e", "shared-f",
];
/// The queue that is purged. Nothing in it is due before its purge.
const PURGED: &str = "shared-purged";
/// How far ahead its tasks are due: further than a purge takes while any fault lasts.
const AHEAD: Duration = Duration::from_secs(120);
/// Number of clients.
const CLIENTS: u64 = 2;
/// Longest pause of a client between two operations.
const PAUSE_MS: u64 = 1_500;
/// Most tasks created in a row.
const ROW: u64 = 3;
/// Windows of debounces that are open at a time.
const WINDOWS: u64 = 3;
/// Pause between two looks at an operation.
const LOOK: Duration = Duration::from_millis(250);
/// Time for an operation to be done once it was begun, and for the last crowd to be accepted.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a task of the last crowd takes: long enough for others to start meanwhile.
const CROWD_PATH: &str = "/delay/1500ms";

/// The limits that tasks share.
pub(crate) fn limits() -> Vec<Shared> {
    let limits = LIMITS.iter().map(|(key, concurrency, rate)| Shared {
        key: (*key).to_owned(),
        concurrency: *concurrency,
        rate: *rate,
    });
    limits.collect()
}

/// What a task says about a key.
fn said(limit: &Shared) -> Value {
    let rate = limit.rate.map(|rate| {
        let per = format!("{}s", rate.per_ms / 1_000);
        json!({ "limit": rate.limit, "per": per, "burst": rate.burst })
    });
    let mut said = json!({ "key": limit.key });
    if let Some(most) = limit.concurrency {
        said["concurrency"] = most.into();
    }
    if let Some(rate) = rate {
        said["rate"] = rate;
    }
    said
}

/// Starts these clients beside those of a workload.
pub(crate) fn start(workload: &mut Workload, client: &Client, target: &Target, seed: u64) {
    for number in 0..CLIENTS {
        workload.add(|counters, stop| {
            let sharer = Sharer {
                client: client.clone(),
                counters,
                base: target.url(""),
                random: Seeded::new(seed, 4_000 + number),
                name: format!("s{seed}-h{number}"),
                made: 0,
                told: Vec::new(),
            };
            sharer.run(number == 0, stop)
        });
    }
}

/// Creates twice as many tasks of each key as may run at a time, each in another queue than the one before it.
pub(crate) async fn crowd(client: &Client, target: &Target) -> Result<()> {
    let begin = Instant::now();
    let mut tasks = Vec::new();
    for limit in limits() {
        for number in 0..2 * limit.concurrency.unwrap_or(0) {
            let queue = QUEUES[number as usize % QUEUES.len()];
            tasks.push(json!({
                "targetUrl": target.url(CROWD_PATH),
                "queue": queue,
                "limits": [said(&limit)],
                "idempotencyKey": format!("crowd-{}-{number}", limit.key),
            }));
        }
    }
    let body = json!({ "tasks": &tasks });
    loop {
        let reply = client
            .send(Method::POST, "/v1/tasks/batch", None, Some(&body))
            .await?;
        if reply.accepted() == tasks.len() {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < DEADLINE,
            "no crowd of shared limits: {reply:?}"
        );
        sleep(RETRY_PAUSE).await;
    }
}

struct Sharer {
    client: Client,
    counters: Arc<Counters>,
    base: String,
    random: Seeded,
    name: String,
    made: u64,
    told: Vec<Told>,
}

impl Sharer {
    async fn run(mut self, purges: bool, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            match self.random.below(100) {
                0..15 if purges => self.fill_and_purge(&stop).await?,
                0..40 => self.burst(&stop).await?,
                _ => self.within_limits(&stop).await?,
            }
            let pause = Duration::from_millis(self.random.below(PAUSE_MS));
            stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(self.told)
    }

    fn task(&mut self, queue: &str, path: &str) -> Value {
        self.made += 1;
        json!({
            "targetUrl": format!("{}{path}", self.base),
            "queue": queue,
            "body": format!("task {} of {}", self.made, self.name),
        })
    }

    fn queue(&mut self) -> &'static str {
        self.random.pick(&QUEUES).copied().unwrap_or(QUEUES[0])
    }

    /// Creates some tasks that share one limit or two, in several queues. Those with the same two name them in either order.
    async fn within_limits(&mut self, stop: &CancellationToken) -> Result<()> {
        for _ in 0..=self.random.below(ROW) {
            let (queue, path) = (
                self.queue(),
                match self.random.below(10) {
                    0..5 => "/",
                    5..9 => "/delay/100ms",
                    _ => "/flaky/1",
                },
            );
            let mut limits: Vec<_> = limits().iter().map(said).collect();
            let first = usize::try_from(self.random.below(limits.len() as u64))?;
            limits.rotate_left(first);
            limits.truncate(1 + usize::from(self.random.percent(50)));
            let mut task = self.task(queue, path);
            task["limits"] = limits.into();
            self.create(&task, stop).await?;
        }
        Ok(())
    }

    /// Creates some tasks of one window.
    async fn burst(&mut self, stop: &CancellationToken) -> Result<()> {
        let (queue, window) = (self.queue(), self.random.below(WINDOWS));
        let mode = if self.random.percent(50) {
            "first"
        } else {
            "last"
        };
        for _ in 0..=self.random.below(ROW) {
            let mut task = self.task(queue, "/");
            task["debounce"] = json!({
                "key": format!("window-{window}"),
                "delay": "500ms",
                "maxDelay": "2s",
                "mode": mode,
            });
            self.create(&task, stop).await?;
        }
        Ok(())
    }

    /// Creates some tasks that are due much later, purges their queue, and waits until that is done.
    async fn fill_and_purge(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut ids = Vec::new();
        for _ in 0..=self.random.below(ROW) {
            let mut task = self.task(PURGED, "/");
            task["delayUntil"] = now().plus(AHEAD).to_rfc3339().into();
            ids.extend(self.create(&task, stop).await?);
        }
        // Also when the run ends: nothing of it is to be left.
        self.made += 1;
        let key = format!("{}-{}", self.name, self.made);
        let path = format!("/v1/queues/{PURGED}/purge");
        let begin = Instant::now();
        let operation = loop {
            let reply = self
                .client
                .send(Method::POST, &path, Some(&key), None)
                .await?;
            self.counters.count(&reply);
            if let (Some(201), Some(id)) = (reply.status(), reply.operation("id")) {
                break id;
            }
            self.told.extend(reply.trouble("purge a queue"));
            ensure!(begin.elapsed() < DEADLINE, "purge a queue: {reply:?}");
            sleep(RETRY_PAUSE).await;
        };
        let path = format!("/v1/operations/{operation}");
        let begin = Instant::now();
        let mut is_done = false;
        while !is_done && begin.elapsed() < DEADLINE {
            let reply = self.client.send(Method::GET, &path, None, None).await?;
            self.counters.count(&reply);
            match reply.status() {
                Some(200) => is_done = reply.operation("state").as_deref() == Some("completed"),
                _ => self.told.extend(reply.trouble("look at an operation")),
            }
            sleep(LOOK).await;
        }
        self.told.push(Told::Purged { ids, is_done });
        Ok(())
    }

    /// Creates a task, with a key until it is known whether that was done.
    async fn create(&mut self, task: &Value, stop: &CancellationToken) -> Result<Option<String>> {
        let key = format!("{}-{}", self.name, self.made);
        let (client, counters) = (&self.client, &self.counters);
        create(client, counters, &mut self.told, (key, task), stop).await
    }
}
