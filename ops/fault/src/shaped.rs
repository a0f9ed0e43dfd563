//! Queues with limits, queues that are paused and a host that is opened again and again, and what is known of them for sure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waybill_domain::time::Timestamp;

use crate::checker::{Held, Limited, Pause, Rate, Span, Told};
use crate::client::{Client, Reply};
use crate::seeded::Seeded;
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// Queues with limits. All of them are paused now and then, as are those of `FREE`.
const LIMITED: [(&str, Option<u32>, Option<Rate>); 4] = [
    ("shaped-1", Some(1), None),
    ("shaped-3", Some(3), None),
    (
        "shaped-rate",
        None,
        Some(Rate {
            limit: 10,
            per_ms: 1_000,
            burst: 3,
        }),
    ),
    (
        "shaped-both",
        Some(2),
        Some(Rate {
            limit: 20,
            per_ms: 1_000,
            burst: 2,
        }),
    ),
];
/// Queues without limits.
const FREE: [&str; 2] = ["shaped-a", "shaped-b"];
/// Time limit for the limits to be set, and for the last crowd to be accepted.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a task of the last crowd takes: long enough for others to start meanwhile.
const CROWD_PATH: &str = "/delay/1500ms";

/// The shaped queues of a run. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shaped {
    records: Arc<Mutex<Records>>,
}

/// What is known for sure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) pauses: Vec<Pause>,
    pub(crate) held: Vec<Held>,
    /// Tasks of one client with one ordering key, in the order in which they were accepted.
    pub(crate) lines: Vec<Vec<String>>,
}

impl Shaped {
    /// Sets the limits, which hold before the first task is created.
    pub(crate) async fn set_limits(client: &Client) -> Result<Self> {
        let begin = Instant::now();
        for limited in limits() {
            let rate = limited.rate.map(|rate| {
                let per = format!("{}s", rate.per_ms / 1_000);
                json!({ "limit": rate.limit, "per": per, "burst": rate.burst })
            });
            let body = json!({ "concurrency": limited.concurrency, "rate": rate });
            let path = format!("/v1/queues/{}", limited.queue);
            loop {
                let reply = client.send(Method::PUT, &path, None, Some(&body)).await?;
                if reply.status() == Some(200) {
                    break;
                }
                ensure!(
                    begin.elapsed() < DEADLINE && reply.status().is_none_or(|status| status == 503),
                    "the limits of {} are not set: {reply:?}",
                    limited.queue
                );
                sleep(RETRY_PAUSE).await;
            }
        }
        Ok(Self::default())
    }

    /// Starts somebody who pauses and resumes the queues, and somebody who opens and closes a host.
    pub(crate) fn start_pausing(
        &self,
        workload: &mut Workload,
        client: &Client,
        host: &str,
        seed: u64,
    ) {
        let queues = queues().into_iter().map(|queue| On::Queue(queue.into()));
        let host = vec![On::Host(host.to_owned())];
        for (number, held) in [(0, queues.collect()), (1, host)] {
            workload.add(|counters, stop| {
                let pauser = Pauser {
                    client: client.clone(),
                    counters,
                    records: Arc::clone(&self.records),
                    random: Seeded::new(seed, 2_000 + number),
                    told: Vec::new(),
                };
                pauser.run(held, stop)
            });
        }
    }

    /// Notes the tasks of one line.
    pub(crate) fn note_line(&self, tasks: Vec<String>) {
        self.records.lock().lines.push(tasks);
    }

    /// What is known once all clients have stopped.
    pub(crate) fn records(&self) -> Records {
        self.records.lock().clone()
    }

    /// Creates twice as many tasks in each limited queue as may run at a time.
    pub(crate) async fn crowd(client: &Client, target: &Target) -> Result<()> {
        let begin = Instant::now();
        for limited in limits() {
            let tasks: Vec<Value> = (0..2 * limited.concurrency.unwrap_or(0))
                .map(|number| {
                    json!({
                        "targetUrl": target.url(CROWD_PATH),
                        "queue": limited.queue,
                        "idempotencyKey": format!("crowd-{}-{number}", limited.queue),
                    })
                })
                .collect();
            let body = json!({ "tasks": &tasks });
            while !tasks.is_empty() {
                let reply = client
                    .send(Method::POST, "/v1/tasks/batch", None, Some(&body))
                    .await?;
                if reply.accepted() == tasks.len() {
                    break;
                }
                ensure!(begin.elapsed() < DEADLINE, "no crowd: {reply:?}");
                sleep(RETRY_PAUSE).await;
            }
        }
        Ok(())
    }
}

/// The limits of the queues.
pub(crate) fn limits() -> Vec<Limited> {
    LIMITED
        .iter()
        .map(|(queue, concurrency, rate)| Limited {
            queue: (*queue).to_owned(),
            concurrency: *concurrency,
            rate: *rate,
        })
        .collect()
}

/// The names of all shaped queues.
pub(crate) fn queues() -> Vec<&'static str> {
    LIMITED
        .iter()
        .map(|(queue, ..)| *queue)
        .chain(FREE)
        .collect()
}

/// What is held for a while.
#[derive(Debug, Clone)]
enum On {
    Queue(String),
    Host(String),
}

impl On {
    /// The request that holds it, and the one that lets it go, as they are called and where they go.
    fn requests(&self) -> [(&'static str, String); 2] {
        match self {
            Self::Queue(queue) => [
                ("pause a queue", format!("/v1/queues/{queue}/pause")),
                ("resume a queue", format!("/v1/queues/{queue}/resume")),
            ],
            Self::Host(host) => [
                ("open a host", format!("/v1/targets/{host}/open")),
                ("close a host", format!("/v1/targets/{host}/close")),
            ],
        }
    }
}

/// Somebody who pauses one queue after the other, or opens a host, for some seconds each.
struct Pauser {
    client: Client,
    counters: Arc<Counters>,
    records: Arc<Mutex<Records>>,
    random: Seeded,
    told: Vec<Told>,
}

impl Pauser {
    async fn run(mut self, held: Vec<On>, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            if let Some(on) = self.random.pick(&held) {
                self.pause_and_resume(on, &stop).await?;
            }
            self.rest(200, 800, &stop).await;
        }
        Ok(self.told)
    }

    async fn rest(&mut self, least_ms: u64, more_ms: u64, stop: &CancellationToken) {
        let pause = Duration::from_millis(least_ms + self.random.below(more_ms));
        stop.run_until_cancelled(sleep(pause)).await;
    }

    async fn pause_and_resume(&mut self, on: &On, stop: &CancellationToken) -> Result<()> {
        let [(hold, hold_path), (let_go, let_go_path)] = on.requests();
        let until = self.random.percent(50).then(|| {
            let ahead = Duration::from_millis(1_500 + self.random.below(2_500));
            now().plus(ahead)
        });
        let body = json!({ "reason": "a fault run", "until": until.map(Timestamp::to_rfc3339) });
        let is_paused = self.until_done(hold, &hold_path, Some(&body)).await?;
        let answered = now();
        if !is_paused {
            return Ok(());
        }
        // Some pauses end by themselves only.
        let by_itself = until.filter(|_| self.random.percent(50));
        if let Some(until) = by_itself {
            sleep(until.since(now())).await;
        } else {
            self.rest(500, 2_000, stop).await;
        }
        let resumed = until.map_or(now(), |until| until.min(now()));
        let (span, has_end) = (
            Span {
                from_ms: answered.0,
                to_ms: resumed.0,
            },
            until.is_some(),
        );
        match on.clone() {
            On::Queue(queue) => self.records.lock().pauses.push(Pause {
                queue,
                span,
                has_end,
            }),
            On::Host(host) => self.records.lock().held.push(Held {
                host,
                span,
                has_end,
            }),
        }
        if by_itself.is_none() {
            self.until_done(let_go, &let_go_path, None).await?;
        }
        Ok(())
    }

    /// Repeats a request until it is answered with 200: after anything else it is uncertain whether the queue is paused. Returns false if that was not
    /// possible before the end of the pause, by the clock of the gateway.
    async fn until_done(
        &mut self,
        what: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<bool> {
        loop {
            let reply = self.client.send(Method::POST, path, None, body).await?;
            self.counters.count(&reply);
            match &reply {
                Reply::Answer { status: 200, .. } => return Ok(true),
                Reply::Answer {
                    status: 400, body, ..
                } if body["field"] == "until" => return Ok(false),
                _ => {}
            }
            self.told.extend(reply.trouble(what));
            ensure!(
                reply.status().is_none_or(|status| status == 503),
                "{what}: {reply:?}"
            );
            sleep(RETRY_PAUSE).await;
        }
    }
}
