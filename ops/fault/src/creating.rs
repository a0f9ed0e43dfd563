//! Creating a task with a key until it is known whether that was done.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;
use http::Method;
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checker::Told;
use crate::client::{Client, Reply};
use crate::workload::{Counters, RETRY_PAUSE};

/// Creates a task. Its id; `None` if it is refused for good, or the run ends.
pub(crate) async fn create(
    client: &Client,
    counters: &Counters,
    told: &mut Vec<Told>,
    (key, task): (String, &Value),
    stop: &CancellationToken,
) -> Result<Option<String>> {
    loop {
        let begin = Instant::now();
        let reply = client
            .send(Method::POST, "/v1/tasks", Some(&key), Some(task))
            .await?;
        counters.count_creation(&reply, begin.elapsed());
        if let (Some(201), Some(id)) = (reply.status(), reply.task("id")) {
            counters.accepted.fetch_add(1, Ordering::Relaxed);
            let (key, id) = (Some(key), id);
            told.push(Told::Accepted {
                key,
                id: id.clone(),
            });
            return Ok(Some(id));
        }
        told.extend(reply.trouble("create"));
        let is_final = matches!(&reply, Reply::Answer { status, .. } if *status != 503);
        if is_final || stop.is_cancelled() {
            return Ok(None);
        }
        sleep(RETRY_PAUSE).await;
    }
}
