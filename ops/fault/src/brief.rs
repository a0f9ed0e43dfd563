//! A log that keeps only seconds of what has ended, while clients work and owners change.
//!
//! Some tasks are open all the time: they are due in an hour, or their call takes longer than anything is kept. Their history goes again and again,
//! so they live on restatements alone, under the owner that wrote them and under the one that reads them. In the end they are told to run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use waybill_log::{Log, Stream};

use crate::client::Reply;
use crate::fleet::WORKERS;
use crate::inject::{Injector, until};
use crate::recorder::Recorder;
use crate::workload::{QUEUES, WEBHOOK, now};

/// The setting, in seconds.
const SETTING: &str = "WAYBILL__NATS__STREAMS__TASKS_MAX_AGE_S";
/// How far ahead tasks are due that stay open until they are told to run.
const AHEAD: Duration = Duration::from_secs(3_600);
/// A call that takes longer than anything is kept.
const LONG_CALL: &str = "/delay/5s";
/// Time for the tasks to be accepted, and to end once they were told to run.
const DEADLINE: Duration = Duration::from_secs(45);
/// Pause between two polls.
const POLL: Duration = Duration::from_millis(100);
/// The worker that dies meanwhile.
const DIES: usize = 0;

/// A task that is open while its history goes.
struct Kept {
    id: String,
    key: String,
    body: Value,
    /// Whether it waits to be told to run.
    waits: bool,
}

impl Injector<'_> {
    /// Restarts the workers in order, so that the log keeps what has ended for so long.
    pub(crate) async fn keep_for(&mut self, kept: Option<Duration>) -> Result<()> {
        let seconds = kept.map(|kept| kept.as_secs().to_string());
        for number in 0..WORKERS {
            self.worker(number)?.role.set(SETTING, seconds.as_deref());
            self.restart_worker(number).await?;
        }
        Ok(())
    }

    /// Checks that tasks outlive their history, also when their owner dies meanwhile.
    pub(crate) async fn outlive_history(&mut self) -> Result<()> {
        let tasks = self.accepted_tasks().await?;
        self.until_restated(&tasks, "before any owner has died")
            .await?;
        // Now the log holds no creation of them. Whoever takes over knows them from what was restated, or from a snapshot of what is gone.
        let owned = self.owned_by(DIES).await?;
        self.worker(DIES)?.role.kill9();
        let taken_over = self.until_taken_over(DIES, &owned).await;
        self.worker(DIES)?.role.launch()?;
        taken_over?;
        self.until_restated(&tasks, "after their owner has died")
            .await?;
        for task in &tasks {
            self.is_known(task).await?;
        }
        for task in tasks.iter().filter(|task| task.waits) {
            let path = format!("/v1/tasks/{}/run-now", task.id);
            self.answered(Method::POST, &path, None, None, 200).await?;
        }
        for task in &tasks {
            self.until_completed(task).await?;
        }
        Ok(())
    }

    async fn accepted_tasks(&self) -> Result<Vec<Kept>> {
        let mut tasks = Vec::new();
        for number in 0..2 * QUEUES {
            let waits = number < QUEUES;
            let path = if waits { "/" } else { LONG_CALL };
            let due = waits.then(|| now().plus(AHEAD).to_rfc3339());
            let body = json!({
                "targetUrl": self.probe.target(path),
                "queue": format!("fault-{}", number % QUEUES),
                "onCompleteUrl": self.probe.target(WEBHOOK),
                "delayUntil": due,
                "body": "outlives its history",
            });
            let key = format!("kept-{}-{number}", now().0);
            let reply = self.answered(Method::POST, "/v1/tasks", Some(&key), Some(&body), 201);
            let id = reply.await?.task("id").context("the id of a new task")?;
            tasks.push(Kept {
                id,
                key,
                body,
                waits,
            });
        }
        Ok(tasks)
    }

    /// Waits until everything is purged that the log holds now, and those that wait are restated behind it.
    async fn until_restated(&self, tasks: &[Kept], when: &str) -> Result<()> {
        let last = self.log.bounds(Stream::Tasks).await?.last.0;
        let recorder: &Recorder = self.recorder;
        until(&format!("history was not purged {when}"), async || {
            Ok(recorder.first() > last)
        })
        .await?;
        let mut waiting = tasks.iter().filter(|task| task.waits);
        let missing = waiting.find(|task| !recorder.has_restated(&task.id, last));
        match missing {
            Some(task) => bail!(
                "the log was purged up to {last} {when}, and {} was not restated",
                task.id
            ),
            None => Ok(()),
        }
    }

    /// Checks that it is there for those who ask, and that its idempotency key is.
    async fn is_known(&self, task: &Kept) -> Result<()> {
        let path = format!("/v1/tasks/{}", task.id);
        if task.waits {
            let reply = self.answered(Method::GET, &path, None, None, 200).await?;
            let status = reply.task("status");
            ensure!(
                status.as_deref() == Some("delayed"),
                "{} is {status:?}",
                task.id
            );
            let (key, body) = (Some(task.key.as_str()), Some(&task.body));
            let again = self
                .answered(Method::POST, "/v1/tasks", key, body, 201)
                .await?;
            let id = again.task("id");
            ensure!(
                id.as_ref() == Some(&task.id),
                "the key of {} made {id:?}",
                task.id
            );
        }
        Ok(())
    }

    /// Waits until it has ended. It may be gone by then.
    async fn until_completed(&self, task: &Kept) -> Result<()> {
        let begin = Instant::now();
        let path = format!("/v1/tasks/{}", task.id);
        loop {
            let reply = self
                .probe
                .client
                .send(Method::GET, &path, None, None)
                .await?;
            match (reply.status(), reply.task("status").as_deref()) {
                // The checks know its end from the log.
                (Some(404), _) | (Some(200), Some("completed")) => return Ok(()),
                (status, stands) => ensure!(
                    begin.elapsed() < DEADLINE,
                    "{} has not ended: {status:?}, {stands:?}",
                    task.id
                ),
            }
            sleep(POLL).await;
        }
    }

    /// Repeats a request until it has this answer, as after a 503 for want of an owner.
    async fn answered(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
        status: u16,
    ) -> Result<Reply> {
        let begin = Instant::now();
        loop {
            let reply = self
                .probe
                .client
                .send(method.clone(), path, key, body)
                .await?;
            if reply.status() == Some(status) {
                return Ok(reply);
            }
            let may_change = matches!(reply.status(), None | Some(503));
            ensure!(
                may_change && begin.elapsed() < DEADLINE,
                "{method} {path}: {reply:?}"
            );
            sleep(POLL).await;
        }
    }
}
