//! Clients that use what decides about the order and the time of tasks: ordering keys, limited and paused queues, fairness keys, run-now, and
//! doing again what has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::Told;
use crate::client::{Client, Reply};
use crate::seeded::Seeded;
use crate::shaped::{self, Shaped};
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// Number of these clients.
const CLIENTS: u64 = 3;
/// Longest pause between two operations.
const PAUSE_MS: u64 = 250;
/// Most tasks created in a row.
const ROW: u64 = 5;
/// How far ahead a task is due that is told to run now: further than that usually takes.
const AHEAD: Duration = Duration::from_secs(20);
/// How many of its own tasks a client remembers.
const REMEMBERED: usize = 100;

/// Starts these clients beside those of a workload.
pub(crate) fn start(
    shaped: &Shaped,
    workload: &mut Workload,
    client: &Client,
    target: &Target,
    seed: u64,
) {
    for number in 0..CLIENTS {
        workload.add(|counters, stop| {
            let shaper = Shaper {
                client: client.clone(),
                counters,
                base: target.url(""),
                random: Seeded::new(seed, 3_000 + number),
                name: format!("s{seed}-o{number}"),
                made: 0,
                own: Vec::new(),
                lines: shaped::queues()
                    .into_iter()
                    .flat_map(|queue| {
                        [false, true].map(|cancels_rest| Line::new(queue, cancels_rest))
                    })
                    .collect(),
                told: Vec::new(),
            };
            shaper.run(shaped.clone(), stop)
        });
    }
}

/// An ordering key of one client.
struct Line {
    queue: &'static str,
    cancels_rest: bool,
    accepted: Vec<String>,
}

impl Line {
    fn new(queue: &'static str, cancels_rest: bool) -> Self {
        Self {
            queue,
            cancels_rest,
            accepted: Vec::new(),
        }
    }
}

struct Shaper {
    client: Client,
    counters: Arc<Counters>,
    base: String,
    random: Seeded,
    name: String,
    made: u64,
    /// Its newest tasks.
    own: Vec<String>,
    lines: Vec<Line>,
    told: Vec<Told>,
}

impl Shaper {
    async fn run(mut self, shaped: Shaped, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            match self.random.below(100) {
                0..40 => self.extend_line(&stop).await?,
                40..65 => self.crowd(&stop).await?,
                65..80 => self.run_now(&stop).await?,
                80..92 => self.replay(&stop).await?,
                _ => self.retry_a_dead_letter(&stop).await?,
            }
            sleep(Duration::from_millis(self.random.below(PAUSE_MS))).await;
        }
        for line in self.lines {
            shaped.note_line(line.accepted);
        }
        Ok(self.told)
    }

    fn task(&mut self, queue: &str, path: &str) -> Value {
        self.made += 1;
        json!({
            "targetUrl": format!("{}{path}", self.base),
            "queue": queue,
            "fairnessKey": format!("customer-{}", self.random.below(3)),
            "body": format!("task {} of {}", self.made, self.name),
        })
    }

    /// Creates some tasks with one ordering key, each when the one before it is accepted.
    async fn extend_line(&mut self, stop: &CancellationToken) -> Result<()> {
        let number = usize::try_from(self.random.below(self.lines.len() as u64))?;
        for _ in 0..=self.random.below(ROW) {
            let (queue, cancels_rest) = (self.lines[number].queue, self.lines[number].cancels_rest);
            let (path, retries) = match self.random.below(100) {
                0..70 => ("/", 3),
                70..80 => ("/flaky/1", 3),
                80..88 => ("/delay/300ms", 3),
                88..94 => ("/status/500", 1),
                _ => ("/status/500", 0),
            };
            let mut task = self.task(queue, path);
            task["maxRetries"] = retries.into();
            task["orderingKey"] = format!("{}-{cancels_rest}", self.name).into();
            let on_failure = if cancels_rest { "cancelRest" } else { "skip" };
            task["onFailure"] = on_failure.into();
            if self.random.percent(5) {
                task["expiresIn"] = "2s".into();
            }
            let is_keyed = self.random.percent(60);
            if let Some(id) = self.create(&task, is_keyed, stop).await? {
                self.lines[number].accepted.push(id);
            }
        }
        Ok(())
    }

    /// Creates some tasks in one queue that take a while.
    async fn crowd(&mut self, stop: &CancellationToken) -> Result<()> {
        let Some(queue) = self.random.pick(&shaped::queues()).copied() else {
            return Ok(());
        };
        for _ in 0..=self.random.below(ROW) {
            let path = match self.random.below(10) {
                0..7 => "/delay/150ms",
                7..9 => "/",
                _ => "/flaky/1",
            };
            let task = self.task(queue, path);
            self.create(&task, true, stop).await?;
        }
        Ok(())
    }

    /// Creates a task that is due later, and tells it to run now.
    async fn run_now(&mut self, stop: &CancellationToken) -> Result<()> {
        let Some(queue) = self.random.pick(&shaped::queues()).copied() else {
            return Ok(());
        };
        let mut task = self.task(queue, "/");
        task["delayUntil"] = now().plus(AHEAD).to_rfc3339().into();
        let Some(id) = self.create(&task, true, stop).await? else {
            return Ok(());
        };
        let path = format!("/v1/tasks/{id}/run-now");
        loop {
            let reply = self.client.send(Method::POST, &path, None, None).await?;
            self.counters.count(&reply);
            match reply.status() {
                Some(200) => self.told.push(Told::RunNow {
                    id: id.clone(),
                    told_ms: now().0,
                }),
                // Its time has come meanwhile.
                Some(409) => {}
                Some(404) => self.told.push(Told::NotFound {
                    id: id.clone(),
                    told_ms: now().0,
                }),
                _ => self.told.extend(reply.trouble("run a task now")),
            }
            if is_final(&reply) || stop.is_cancelled() {
                return Ok(());
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Does one of its older tasks again, if that has ended.
    async fn replay(&mut self, stop: &CancellationToken) -> Result<()> {
        let older = self.own.len() / 2;
        let Some(of) = self.random.pick(&self.own[..older]).cloned() else {
            return Ok(());
        };
        self.made += 1;
        let key = format!("{}-{}", self.name, self.made);
        let path = format!("/v1/tasks/{of}/replay");
        loop {
            let reply = self
                .client
                .send(Method::POST, &path, Some(&key), None)
                .await?;
            match reply.status() {
                // It has not ended.
                Some(409) => return Ok(()),
                _ => self.take_again(&of, &reply, Some(&key)),
            }
            if is_final(&reply) || stop.is_cancelled() {
                return Ok(());
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Tries one of the newest dead letters again; now and then one that somebody is trying again meanwhile.
    async fn retry_a_dead_letter(&mut self, stop: &CancellationToken) -> Result<()> {
        let list = "/v1/dead-letters?limit=5";
        let reply = self.client.send(Method::GET, list, None, None).await?;
        self.counters.count(&reply);
        let letters = match &reply {
            Reply::Answer {
                status: 200, body, ..
            } => body["deadLetters"].as_array().cloned().unwrap_or_default(),
            _ => {
                self.told.extend(reply.trouble("list dead letters"));
                return Ok(());
            }
        };
        let ids: Vec<_> = letters
            .iter()
            .filter_map(|letter| letter["id"].as_str())
            .collect();
        let Some(of) = self.random.pick(&ids) else {
            return Ok(());
        };
        let path = format!("/v1/dead-letters/{of}/retry");
        let mut again = u32::from(self.random.percent(50));
        loop {
            let reply = self.client.send(Method::POST, &path, None, None).await?;
            self.take_again(of, &reply, None);
            match again.checked_sub(1) {
                Some(less) if reply.status() == Some(201) => again = less,
                _ if is_final(&reply) || stop.is_cancelled() => return Ok(()),
                _ => sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Notes an answer to a request to do a task again.
    fn take_again(&mut self, of: &str, reply: &Reply, key: Option<&str>) {
        self.counters.count(reply);
        match (reply.status(), reply.task("id")) {
            (Some(201), Some(id)) => {
                self.told.push(Told::Again {
                    of: of.to_owned(),
                    id: id.clone(),
                    as_dead_letter: key.is_none(),
                });
                self.accepted(id, key);
            }
            // 410: its row is there, but its request is gone from the log.
            (Some(404 | 410), _) => self.told.push(Told::NotFound {
                id: of.to_owned(),
                told_ms: now().0,
            }),
            _ => self.told.extend(reply.trouble("do a task again")),
        }
    }

    /// Creates a task, with a key until it is known whether that was done.
    async fn create(
        &mut self,
        task: &Value,
        is_keyed: bool,
        stop: &CancellationToken,
    ) -> Result<Option<String>> {
        let key = is_keyed.then(|| format!("{}-{}", self.name, self.made));
        loop {
            let begin = Instant::now();
            let reply = self
                .client
                .send(Method::POST, "/v1/tasks", key.as_deref(), Some(task))
                .await?;
            self.counters.count_creation(&reply, begin.elapsed());
            if let (Some(201), Some(id)) = (reply.status(), reply.task("id")) {
                self.accepted(id.clone(), key.as_deref());
                return Ok(Some(id));
            }
            self.told.extend(reply.trouble("create"));
            if !is_keyed || is_final(&reply) || stop.is_cancelled() {
                return Ok(None);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn accepted(&mut self, id: String, key: Option<&str>) {
        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
        self.told.push(Told::Accepted {
            key: key.map(Into::into),
            id: id.clone(),
        });
        if self.own.len() == REMEMBERED {
            self.own.remove(0);
        }
        self.own.push(id);
    }
}

/// Whether repeating the request can change nothing.
fn is_final(reply: &Reply) -> bool {
    reply.status().is_some_and(|status| status != 503)
}
