//! The harness's own tasks, sent through every queue to see whether everything works.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use http::Method;
use serde_json::json;
use tokio::time::sleep;
use waybill_sink::{Recording, Sink, SinkOptions};

use crate::client::Client;
use crate::workload::{QUEUES, Target};

/// Pause between two polls.
const POLL: Duration = Duration::from_millis(100);
/// A different host from that of the other targets, since workers limit calls by host.
const HANGING_ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 2], 0);
/// Tasks in one request.
const BATCH: usize = 100;
/// Timeout of the calls that hang.
const HANG_SECONDS: u64 = 10;
/// How many calls must hang at once for the fault to count as effective.
const MANY_HANGING: u64 = 50;

/// Sends its own tasks through every queue, to see whether everything works.
pub(crate) struct Probe {
    pub(crate) client: Client,
    /// Address of the usual target.
    base: String,
    /// A separate target on another address, which never answers in time.
    hanging: Sink,
}

impl Probe {
    pub(crate) async fn new(client: &Client, target: &Target) -> Result<Self> {
        let options = SinkOptions {
            recording: Recording::CountOnly,
            ..SinkOptions::default()
        };
        Ok(Self {
            client: client.clone(),
            base: target.url(""),
            hanging: Sink::start(HANGING_ADDRESS.into(), options).await?,
        })
    }

    /// A path of the usual target.
    pub(crate) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Creates `count` tasks whose calls hang until they time out.
    pub(crate) async fn hang(&self, count: usize) -> Result<()> {
        for begin in (0..count).step_by(BATCH) {
            let tasks: Vec<_> = (begin..count.min(begin + BATCH))
                .map(|number| {
                    json!({
                        "targetUrl": self.hanging.url("/delay/600s"),
                        "queue": format!("fault-{}", number as u64 % QUEUES),
                        "timeout": HANG_SECONDS,
                        "maxRetries": 0,
                    })
                })
                .collect();
            let body = json!({ "tasks": &tasks });
            let reply = self
                .client
                .send(Method::POST, "/v1/tasks/batch", None, Some(&body))
                .await?;
            ensure!(
                reply.accepted() == tasks.len(),
                "of {} hanging tasks {} were accepted: {:?}",
                tasks.len(),
                reply.accepted(),
                reply.status()
            );
        }
        Ok(())
    }

    /// Waits until calls hang.
    pub(crate) async fn until_hanging(&self, deadline: Duration) -> Result<()> {
        let begin = Instant::now();
        while self.hanging.count() < MANY_HANGING {
            ensure!(begin.elapsed() < deadline, "hardly any call hangs");
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Creates a task in each queue and waits until all are completed. Returns how long that took.
    pub(crate) async fn until_through(&self, deadline: Duration) -> Result<Duration> {
        let begin = Instant::now();
        let mut open = Vec::new();
        for queue in 0..QUEUES {
            let task = json!({ "targetUrl": self.target("/"), "queue": format!("fault-{queue}") });
            open.push(
                self.until(begin, deadline, "created", async || {
                    let reply = self
                        .client
                        .send(Method::POST, "/v1/tasks", None, Some(&task))
                        .await?;
                    Ok((reply.status() == Some(201))
                        .then(|| reply.task("id"))
                        .flatten())
                })
                .await?,
            );
        }
        for id in open {
            let path = format!("/v1/tasks/{id}");
            self.until(begin, deadline, "completed", async || {
                let reply = self.client.send(Method::GET, &path, None, None).await?;
                Ok(reply.task("status").filter(|status| status == "completed"))
            })
            .await?;
        }
        Ok(begin.elapsed())
    }

    async fn until(
        &self,
        begin: Instant,
        deadline: Duration,
        what: &str,
        look: impl AsyncFn() -> Result<Option<String>>,
    ) -> Result<String> {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if begin.elapsed() > deadline {
                bail!("a new task is not {what} within {deadline:?}");
            }
            sleep(POLL).await;
        }
    }
}
