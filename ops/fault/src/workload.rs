//! Clients that constantly create, cancel, read and list tasks, and record the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waybill_domain::time::Timestamp;
use waybill_sink::{OnReceive, Plan, Received, Recording, Sink, SinkOptions};

use crate::checker::{Call, Told};
use crate::client::{Client, Reply};
use crate::seeded::Seeded;

/// Number of queues, so that every worker gets some of the tasks.
pub(crate) const QUEUES: u64 = 8;
/// Longest pause of a client between two operations.
const PAUSE_MS: u64 = 100;
/// Pause before an operation that failed is repeated.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How many of its own tasks a client remembers, to cancel and read them.
const REMEMBERED: usize = 50;
/// How many calls the target records; a run has far fewer.
const MAX_CALLS: usize = 5_000_000;
/// Path of the completion webhooks.
pub(crate) const WEBHOOK: &str = "/webhook";

/// Counters of failures, by which the effects of faults are detected.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    /// Requests that were answered with 503 or not at all.
    pub(crate) failed: AtomicU64,
    /// Creations that were answered with 503.
    pub(crate) refused: AtomicU64,
    /// Creations that were answered with 503 since the gateway had no lease: it accepts nothing then.
    pub(crate) closed: AtomicU64,
    /// The slowest accepted creation since the last call of `take_slowest`.
    slowest_us: AtomicU64,
}

impl Counters {
    /// Returns the slowest accepted creation since the last call.
    pub(crate) fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest_us.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn count_creation(&self, reply: &Reply, took: Duration) {
        self.count(reply);
        match reply.status() {
            Some(200 | 201) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.slowest_us.fetch_max(micros, Ordering::Relaxed);
            }
            Some(503) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if reply.has_code("authorization_unavailable") {
                    self.closed.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn count(&self, reply: &Reply) {
        if matches!(
            reply,
            Reply::Broken | Reply::Hung(_) | Reply::Answer { status: 503, .. }
        ) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The target of all tasks: a host for most of them, one that is opened by hand, and one that fails and is judged by a rule.
pub(crate) struct Target {
    sink: Sink,
    held: Sink,
    judged: Sink,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Target {
    pub(crate) async fn start() -> Result<Self> {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = Arc::clone(&calls);
        let on_receive: OnReceive = Arc::new(move |received: &Received| {
            let mut calls = kept.lock();
            if calls.len() < MAX_CALLS {
                calls.push(Call {
                    time_us: received.time_us,
                    task: received.task_id.clone().unwrap_or_default(),
                    attempt: received.attempt.unwrap_or(0),
                    status: received.status,
                    webhook: received.path == WEBHOOK,
                    takes_us: answer_after_us(&received.path),
                });
            }
        });
        let start = async || {
            let options = SinkOptions {
                recording: Recording::CountOnly,
                on_receive: Some(Arc::clone(&on_receive)),
                ..SinkOptions::default()
            };
            Sink::start(([127, 0, 0, 1], 0).into(), options).await
        };
        Ok(Self {
            sink: start().await?,
            held: start().await?,
            judged: start().await?,
            calls,
        })
    }

    /// The beginning of URLs at the host that is opened by hand.
    pub(crate) fn held(&self) -> String {
        self.held.url("")
    }

    /// The same at the host that is judged by a rule.
    pub(crate) fn judged(&self) -> String {
        self.judged.url("")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.sink.url(path)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }
}

/// Running clients.
pub(crate) struct Workload {
    pub(crate) counters: Arc<Counters>,
    stop: CancellationToken,
    clients: JoinSet<Result<Vec<Told>>>,
}

impl Workload {
    /// Starts `count` clients.
    pub(crate) fn start(count: u64, client: &Client, target: &Target, seed: u64) -> Self {
        let counters = Arc::<Counters>::default();
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..count {
            let worker = Worker {
                client: client.clone(),
                counters: Arc::clone(&counters),
                base: target.url(""),
                random: Seeded::new(seed, number + 1),
                name: format!("s{seed}-c{number}"),
                made: 0,
                own: Vec::new(),
                told: Vec::new(),
            };
            clients.spawn(worker.run(stop.clone()));
        }
        Self {
            counters,
            stop,
            clients,
        }
    }

    /// Adds another client, which is told where to count and when to stop.
    pub(crate) fn add<C>(&mut self, client: impl FnOnce(Arc<Counters>, CancellationToken) -> C)
    where
        C: Future<Output = Result<Vec<Told>>> + Send + 'static,
    {
        self.clients
            .spawn(client(Arc::clone(&self.counters), self.stop.clone()));
    }

    /// Stops the clients, and returns the answers that they recorded.
    pub(crate) async fn stop(mut self) -> Result<Vec<Told>> {
        self.stop.cancel();
        let mut told = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            told.extend(client??);
        }
        Ok(told)
    }
}

struct Worker {
    client: Client,
    counters: Arc<Counters>,
    base: String,
    random: Seeded,
    name: String,
    made: u64,
    /// The newest tasks of this client.
    own: Vec<String>,
    told: Vec<Told>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            match self.random.below(100) {
                0..55 => self.create_with_key(&stop).await?,
                55..70 => self.create_without_key().await?,
                70..80 => self.cancel().await?,
                80..94 => self.read().await?,
                _ => self.list().await?,
            }
            sleep(Duration::from_millis(self.random.below(PAUSE_MS))).await;
        }
        Ok(self.told)
    }

    fn task(&mut self) -> Value {
        self.made += 1;
        let (path, retries) = match self.random.below(100) {
            0..60 => ("/", 3),
            60..72 => ("/flaky/1", 3),
            72..82 => ("/delay/300ms", 3),
            // Slow enough that some attempts are in flight whenever a process is killed.
            82..92 => ("/delay/2500ms", 3),
            92..96 => ("/status/500", 1),
            _ => ("/status/404", 3),
        };
        let mut task = json!({
            "targetUrl": format!("{}{path}", self.base),
            "queue": format!("fault-{}", self.random.below(QUEUES)),
            "maxRetries": retries,
            "priority": 1 + self.random.below(10),
            "body": format!("task {} of {}", self.made, self.name),
        });
        if self.random.percent(20) {
            task["delayUntil"] = in_a_while(&mut self.random).into();
        }
        if self.random.percent(15) {
            task["onCompleteUrl"] = format!("{}{WEBHOOK}", self.base).into();
        }
        task
    }

    /// Repeats a creation whose outcome is unknown, as a client should, and now and then one that
    /// was confirmed.
    async fn create_with_key(&mut self, stop: &CancellationToken) -> Result<()> {
        let task = self.task();
        let key = format!("{}-{}", self.name, self.made);
        let mut again = u32::from(self.random.percent(20));
        loop {
            let reply = self.post(&task, Some(&key)).await?;
            if self.accepted(&reply, Some(&key)) {
                if again == 0 {
                    return Ok(());
                }
                again -= 1;
            } else if stop.is_cancelled() || reply.status().is_some_and(|status| status != 503) {
                return Ok(());
            } else {
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Without a key a creation must not be repeated.
    async fn create_without_key(&mut self) -> Result<()> {
        let task = self.task();
        let reply = self.post(&task, None).await?;
        self.accepted(&reply, None);
        Ok(())
    }

    async fn post(&self, task: &Value, key: Option<&str>) -> Result<Reply> {
        let begin = Instant::now();
        let reply = self
            .client
            .send(Method::POST, "/v1/tasks", key, Some(task))
            .await?;
        self.counters.count_creation(&reply, begin.elapsed());
        Ok(reply)
    }

    fn accepted(&mut self, reply: &Reply, key: Option<&str>) -> bool {
        let (Some(201), Some(id)) = (reply.status(), reply.task("id")) else {
            self.told.extend(reply.trouble("create"));
            return false;
        };
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.told.push(Told::Accepted {
            key: key.map(Into::into),
            id: id.clone(),
        });
        if self.own.len() == REMEMBERED {
            self.own.remove(0);
        }
        self.own.push(id);
        true
    }

    async fn cancel(&mut self) -> Result<()> {
        // Prefer the newest ones, since older ones have ended.
        let from = self.own.len().saturating_sub(5);
        let Some(id) = self.random.pick(&self.own[from..]).cloned() else {
            return Ok(());
        };
        let reply = self
            .client
            .send(Method::POST, &format!("/v1/tasks/{id}/cancel"), None, None)
            .await?;
        self.counters.count(&reply);
        match reply.status() {
            Some(200) if reply.task("status").as_deref() == Some("cancelled") => {
                self.told.push(Told::Cancelled { id });
            }
            // An attempt is still being cut off, or the task has ended.
            Some(200) => {}
            Some(409) => {}
            Some(404) => self.told.push(Told::NotFound {
                id,
                told_ms: now().0,
            }),
            _ => self.told.extend(reply.trouble("cancel")),
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<()> {
        let Some(id) = self.random.pick(&self.own).cloned() else {
            return Ok(());
        };
        let reply = self
            .client
            .send(Method::GET, &format!("/v1/tasks/{id}"), None, None)
            .await?;
        self.counters.count(&reply);
        match (reply.status(), reply.task("status")) {
            (Some(200), Some(status)) => self.told.push(Told::Status { id, status }),
            (Some(404), _) => self.told.push(Told::NotFound {
                id,
                told_ms: now().0,
            }),
            _ => self.told.extend(reply.trouble("get")),
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let reply = self
            .client
            .send(Method::GET, "/v1/tasks?limit=20", None, None)
            .await?;
        self.counters.count(&reply);
        if reply.status() != Some(200) {
            self.told.extend(reply.trouble("list"));
        }
        Ok(())
    }
}

/// How long the target waits before it answers.
fn answer_after_us(path: &str) -> u64 {
    let delay = Plan::of(path, None).delay.unwrap_or_default();
    u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)
}

/// A date one to four seconds ahead.
pub(crate) fn in_a_while(random: &mut Seeded) -> String {
    let ahead = Duration::from_millis(1_000 + random.below(3_000));
    now().plus(ahead).to_rfc3339()
}

/// The time of this machine.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
