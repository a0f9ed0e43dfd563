//! Targets that do badly: a host that fails again and again and is judged by a rule, one that is opened by hand while tasks come for it, and answers that
//! say that a limit is called too often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::{Judged, Told};
use crate::client::Client;
use crate::creating::create;
use crate::seeded::Seeded;
use crate::workload::{Counters, RETRY_PAUSE, Target, Workload, now};

/// The rule: so many failures in a row, and the pause until the next probe.
const IN_A_ROW: u32 = 3;
const PAUSE_MS: i64 = 4_000;
/// The queue of all tasks for the host that is judged: one partition judges it.
const JUDGED: &str = "judged";
/// Queues of tasks for the host that is opened by hand, in several partitions.
const HELD: [&str; 3] = ["held-a", "held-b", "held-c"];
/// Queues of tasks with the limit that their target pauses.
const SLOWED: [&str; 2] = ["slowed-a", "slowed-b"];
/// That limit. Its concurrency never matters.
const LIMIT: &str = "slowed";
/// What the target asks for when it pauses the limit, in seconds.
const SLOW_PATH: &str = "/script/429,200?retryAfter=2";
/// Pause of the client of the judged host between two rows: longer than the host rests, so that what is held goes on before more comes.
const ROWS_MS: (u64, u64) = (5_000, 2_000);
/// How long a row usually takes to fail.
const ROW_FAILS: Duration = Duration::from_secs(1);
/// Longest pause of the other client between two operations.
const SHORT_MS: u64 = 600;
/// Time limit for the rule to be set, and to be removed.
const DEADLINE: Duration = Duration::from_secs(60);

/// Host and port of a URL that ends with them.
pub(crate) fn host(base: &str) -> &str {
    base.rsplit('/').next().unwrap_or(base)
}

/// The host that is judged.
pub(crate) struct Judging {
    base: String,
}

impl Judging {
    /// Sets the rule, which holds before the first task is created.
    pub(crate) async fn set(client: &Client, target: &Target) -> Result<Self> {
        let judging = Self {
            base: target.judged(),
        };
        let pause = PAUSE_MS / 1_000;
        let rule = json!({
            "failuresInARow": IN_A_ROW,
            "pause": format!("{pause}s"),
            "maxPause": format!("{pause}s"),
        });
        judging.put(client, &rule).await?;
        Ok(judging)
    }

    /// Starts the clients.
    pub(crate) fn start(
        &self,
        workload: &mut Workload,
        client: &Client,
        target: &Target,
        seed: u64,
    ) {
        let caller = |number: u64, counters| Caller {
            client: client.clone(),
            counters,
            random: Seeded::new(seed, 6_000 + number),
            name: format!("s{seed}-t{number}"),
            made: 0,
            told: Vec::new(),
        };
        let (judged, held, slowed) = (self.base.clone(), target.held(), target.url(""));
        workload.add(|counters, stop| caller(0, counters).fail_in_rows(judged, stop));
        workload.add(|counters, stop| caller(1, counters).call_all(held, slowed, stop));
    }

    /// Removes the rule, so that all that is held goes on.
    pub(crate) async fn stop(self, client: &Client) -> Result<Judged> {
        let until_ms = now().0;
        self.put(client, &json!({})).await?;
        Ok(Judged {
            host: host(&self.base).to_owned(),
            in_a_row: IN_A_ROW,
            pause_ms: PAUSE_MS,
            until_ms,
        })
    }

    async fn put(&self, client: &Client, rule: &Value) -> Result<()> {
        let path = format!("/v1/targets/{}/health", host(&self.base));
        let begin = Instant::now();
        loop {
            let reply = client.send(Method::PUT, &path, None, Some(rule)).await?;
            if reply.status() == Some(200) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < DEADLINE && reply.status().is_none_or(|status| status == 503),
                "the rule of a host is not set: {reply:?}"
            );
            sleep(RETRY_PAUSE).await;
        }
    }
}

struct Caller {
    client: Client,
    counters: Arc<Counters>,
    random: Seeded,
    name: String,
    made: u64,
    told: Vec<Told>,
}

impl Caller {
    /// Creates rows of tasks that fail and open the host, each with two behind them that find it well.
    async fn fail_in_rows(mut self, base: String, stop: CancellationToken) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            for place in 0..IN_A_ROW + 2 {
                let path = if place < IN_A_ROW { "/status/503" } else { "/" };
                let mut task = self.task(&base, JUDGED, path);
                task["maxRetries"] = 0.into();
                if place == IN_A_ROW {
                    stop.run_until_cancelled(sleep(ROW_FAILS)).await;
                }
                self.create(&task, &stop).await?;
            }
            let (least, more) = ROWS_MS;
            let pause = Duration::from_millis(least + self.random.below(more));
            stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(self.told)
    }

    /// Creates tasks for the host that is opened by hand, and tasks whose target may pause their limit.
    async fn call_all(
        mut self,
        held: String,
        slowed: String,
        stop: CancellationToken,
    ) -> Result<Vec<Told>> {
        while !stop.is_cancelled() {
            let task = if self.random.percent(50) {
                let queue = self.random.pick(&HELD).copied().unwrap_or(HELD[0]);
                self.task(&held, queue, "/")
            } else {
                let queue = self.random.pick(&SLOWED).copied().unwrap_or(SLOWED[0]);
                let path = if self.random.percent(15) {
                    SLOW_PATH
                } else {
                    "/"
                };
                let mut task = self.task(&slowed, queue, path);
                task["limits"] = json!([{ "key": LIMIT, "concurrency": 50 }]);
                task["onRateLimited"] = "pauseKey".into();
                task
            };
            self.create(&task, &stop).await?;
            let pause = Duration::from_millis(self.random.below(SHORT_MS));
            stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(self.told)
    }

    fn task(&mut self, base: &str, queue: &str, path: &str) -> Value {
        self.made += 1;
        json!({
            "targetUrl": format!("{base}{path}"),
            "queue": queue,
            "body": format!("task {} of {}", self.made, self.name),
        })
    }

    /// Creates a task, with a key until it is known whether that was done.
    async fn create(&mut self, task: &Value, stop: &CancellationToken) -> Result<Option<String>> {
        let key = format!("{}-{}", self.name, self.made);
        let (client, counters) = (&self.client, &self.counters);
        create(client, counters, &mut self.told, (key, task), stop).await
    }
}
