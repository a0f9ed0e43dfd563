//! Pulled tasks, and workers that claim them: some finish, some fail, some die, and some freeze past their lease and go on.
//!
//! A worker is a client here, not a process: for Waybill a worker that was killed is one of which nothing is heard any more, and one that
//! was frozen is one that reports too late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::{Reported, Told};
use crate::client::{Client, Reply};
use crate::flows;
use crate::seeded::Seeded;
use crate::workload::{Counters, RETRY_PAUSE, Workload, now};

/// Queues of pulled tasks, in several partitions.
const QUEUES: [&str; 5] = ["pull-a", "pull-b", "pull-c", "pull-d", "pull-e"];
/// Number of clients that create tasks, and of workers.
const CREATORS: u64 = 2;
const WORKERS: u64 = 5;
/// Longest pause of a creator between two tasks.
const PAUSE_MS: u64 = 400;
/// Seconds of a lease.
const LEASE: u64 = 2;
/// How much longer than its lease a worker freezes, after which the lease is over for everybody, whatever became of heartbeats and owners.
const TOO_LATE: Duration = Duration::from_secs(2);
/// Seconds that a claim waits.
const WAIT: u64 = 2;
/// How long a worker repeats a report that got no answer. A lease is over long before.
const REPORT_PATIENCE: Duration = Duration::from_secs(30);

/// Starts creators and workers beside the clients of a workload.
pub(crate) fn start(workload: &mut Workload, client: &Client, seed: u64) {
    for number in 0..CREATORS {
        workload.add(|counters, stop| {
            let creator = Creator {
                client: client.clone(),
                counters,
                random: Seeded::new(seed, 5_000 + number),
                name: format!("s{seed}-p{number}"),
                told: Vec::new(),
            };
            creator.run(stop)
        });
    }
    for number in 0..WORKERS {
        workload.add(|counters, stop| {
            let worker = Puller {
                client: client.clone(),
                counters: Some(counters),
                random: Seeded::new(seed, 6_000 + number),
                name: format!("puller-{number}"),
                is_steady: false,
                told: Vec::new(),
            };
            worker.run(stop)
        });
    }
}

/// Workers that finish what is left when the workload has ended.
pub(crate) struct Finishers {
    stop: CancellationToken,
    workers: JoinSet<Result<Vec<Told>>>,
}

impl Finishers {
    pub(crate) fn start(client: &Client, seed: u64) -> Self {
        let stop = CancellationToken::new();
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let worker = Puller {
                client: client.clone(),
                counters: None,
                random: Seeded::new(seed, 7_000 + number),
                name: format!("finisher-{number}"),
                is_steady: true,
                told: Vec::new(),
            };
            workers.spawn(worker.run(stop.clone()));
        }
        Self { stop, workers }
    }

    pub(crate) async fn stop(mut self) -> Result<Vec<Told>> {
        self.stop.cancel();
        let mut told = Vec::new();
        while let Some(worker) = self.workers.join_next().await {
            told.extend(worker??);
        }
        Ok(told)
    }
}

struct Creator {
    client: Client,
    counters: Arc<Counters>,
    random: Seeded,
    name: String,
    told: Vec<Told>,
}

impl Creator {
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        let mut made = 0;
        while !stop.is_cancelled() {
            made += 1;
            let key = format!("{}-{made}", self.name);
            let queue = self.random.pick(&QUEUES).copied().unwrap_or(QUEUES[0]);
            let task = json!({
                "queue": queue,
                "maxRetries": 3,
                "retryBackoff": ["1s"],
                "json": {"task": key},
            });
            self.create(&task, &key, &stop).await?;
            let pause = Duration::from_millis(self.random.below(PAUSE_MS));
            stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(self.told)
    }

    async fn create(&mut self, task: &Value, key: &str, stop: &CancellationToken) -> Result<()> {
        loop {
            let begin = Instant::now();
            let reply = self
                .client
                .send(Method::POST, "/v1/tasks", Some(key), Some(task))
                .await?;
            self.counters.count_creation(&reply, begin.elapsed());
            if let (Some(201), Some(id)) = (reply.status(), reply.task("id")) {
                let key = Some(key.to_owned());
                self.told.push(Told::Accepted { key, id });
                return Ok(());
            }
            self.told.extend(reply.trouble("create a pulled task"));
            let is_final = matches!(&reply, Reply::Answer { status, .. } if *status != 503);
            if is_final || stop.is_cancelled() {
                return Ok(());
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// A task that a worker was given.
struct Held {
    id: String,
    task: String,
    attempt: u32,
    /// When the claim was asked for and when it was answered, in milliseconds since 1970: the lease was given in between.
    asked_ms: i64,
    told_ms: i64,
}

struct Puller {
    client: Client,
    /// `None` after the workload.
    counters: Option<Arc<Counters>>,
    random: Seeded,
    name: String,
    /// It completes all that it is given, at once.
    is_steady: bool,
    told: Vec<Told>,
}

impl Puller {
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            let Some(claim) = stop.run_until_cancelled(self.claim()).await else {
                break;
            };
            let held = claim?;
            if held.is_empty() {
                stop.run_until_cancelled(sleep(RETRY_PAUSE)).await;
            }
            for one in held {
                self.work(one).await?;
            }
        }
        Ok(self.told)
    }

    async fn claim(&mut self) -> Result<Vec<Held>> {
        let body = json!({
            "queues": QUEUES.iter().chain(&flows::QUEUES).collect::<Vec<_>>(),
            "worker": self.name,
            "max": 1 + self.random.below(2),
            "wait": WAIT,
            "leaseSeconds": LEASE,
        });
        let asked_ms = now().0;
        let reply = self
            .client
            .send(Method::POST, "/v1/claims", None, Some(&body))
            .await?;
        let told_ms = now().0;
        self.count(&reply);
        let Reply::Answer {
            status: 200, body, ..
        } = &reply
        else {
            self.told.extend(reply.trouble("claim"));
            return Ok(Vec::new());
        };
        let claims = body["claims"].as_array().map_or(&[][..], Vec::as_slice);
        let held = claims.iter().filter_map(|claim| {
            Some(Held {
                id: claim["id"].as_str()?.to_owned(),
                task: claim["taskId"].as_str()?.to_owned(),
                attempt: u32::try_from(claim["attempt"].as_u64()?).ok()?,
                asked_ms,
                told_ms,
            })
        });
        let held: Vec<_> = held.collect();
        self.told.extend(held.iter().map(|held| Told::Claimed {
            id: held.task.clone(),
            attempt: held.attempt,
        }));
        Ok(held)
    }

    /// What the worker does with a task.
    async fn work(&mut self, held: Held) -> Result<()> {
        let how = if self.is_steady {
            0
        } else {
            self.random.below(100)
        };
        match how {
            0..60 => {
                let done = json!({"result": {"ok": true}});
                self.report(&held, "complete", done, false).await
            }
            60..70 => {
                self.report(&held, "fail", json!({"error": "it broke"}), false)
                    .await
            }
            70..75 => self.report(&held, "release", json!({}), false).await,
            // It takes longer than its lease, and says so in time.
            75..82 => {
                for _ in 0..3 {
                    sleep(Duration::from_secs(LEASE) / 2).await;
                    self.heartbeat(&held).await?;
                }
                let done = json!({"result": {"slow": true}});
                self.report(&held, "complete", done, false).await
            }
            // It is frozen past its lease, and goes on as if nothing had been.
            82..92 => {
                sleep(Duration::from_secs(LEASE) + TOO_LATE).await;
                let done = json!({"result": {"late": true}});
                self.report(&held, "complete", done, true).await
            }
            // It is killed: nothing is heard of this claim any more.
            _ => Ok(()),
        }
    }

    async fn heartbeat(&mut self, held: &Held) -> Result<()> {
        let path = format!("/v1/claims/{}/heartbeat", held.id);
        let reply = self.client.send(Method::POST, &path, None, None).await?;
        self.count(&reply);
        // 409: an owner was missing for longer than the lease.
        if !matches!(reply.status(), Some(200 | 409)) {
            self.told.extend(reply.trouble("heartbeat"));
        }
        Ok(())
    }

    /// Reports until there is an answer, as a worker should: a report that is repeated is answered as the first.
    async fn report(
        &mut self,
        held: &Held,
        how: &'static str,
        body: Value,
        is_frozen: bool,
    ) -> Result<()> {
        let path = format!("/v1/claims/{}/{how}", held.id);
        let begin = Instant::now();
        let sent_ms = now().0;
        loop {
            let reply = self
                .client
                .send(Method::POST, &path, None, Some(&body))
                .await?;
            self.count(&reply);
            if let (Some(status @ (200 | 409)), answered_ms) = (reply.status(), now().0) {
                self.told.push(Told::Reported(Box::new(Reported {
                    id: held.task.clone(),
                    attempt: held.attempt,
                    how,
                    taken: status == 200,
                    is_frozen,
                    asked_ms: held.asked_ms,
                    told_ms: held.told_ms,
                    sent_ms,
                    answered_ms,
                    lease_ms: LEASE * 1_000,
                })));
                return Ok(());
            }
            self.told.extend(reply.trouble("report"));
            let is_final = matches!(&reply, Reply::Answer { status, .. } if *status != 503);
            if is_final || begin.elapsed() > REPORT_PATIENCE {
                return Ok(());
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn count(&self, reply: &Reply) {
        if let Some(counters) = &self.counters {
            counters.count(reply);
        }
    }
}
