//! A workflow in which each task runs after the one before it: what a step costs.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::stage::Stage;
use crate::http1::Connection;
use crate::report::Report;
use crate::request::NUMBER_WIDTH;

/// Tasks of the chain, which is the most that a workflow may have.
const TASKS: u32 = 1_000;

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS).min(TASKS));
    let target = stage.system.target.clone();
    let url = stage.sink.url("/");
    let first = stage.next;
    stage.next += tasks;
    let padding = "x".repeat((stage.arguments.body as usize).saturating_sub(NUMBER_WIDTH));
    let members: Vec<_> = (first..stage.next)
        .map(|number| {
            let after: Vec<_> = (number > first)
                .then(|| format!("t{}", number - 1))
                .into_iter()
                .collect();
            json!({
                "name": format!("t{number}"),
                "runAfter": after,
                "task": {"targetUrl": url, "body": format!("{number:0NUMBER_WIDTH$}{padding}")},
            })
        })
        .collect();
    let request = json!({"name": "chain", "queue": "bench-00", "tasks": members}).to_string();
    let request = target.request("POST", "/v1/workflows", &request);
    let mut connection = Connection::open(target.address).await?;
    let mark = stage.mark().await?;
    let sent = Instant::now();
    for number in first..stage.next {
        stage.deliveries.sent(number, sent);
    }
    let answer = connection.exchange(request.as_bytes()).await?;
    let text = String::from_utf8_lossy(connection.body(answer)).into_owned();
    ensure!(
        answer.status == 201,
        "a workflow is answered with {}: {text}",
        answer.status
    );
    let accepted = sent.elapsed();
    stage.delivered(stage.next).await?;
    let delivered = sent.elapsed();
    stage.completed(stage.next).await?;
    stage.account(&mark, tasks).await?;
    let steps = delivered
        .checked_sub(accepted)
        .context("it was accepted first")?;
    let millis = |length: std::time::Duration| length.as_secs_f64() * 1e3;
    let report = &mut stage.report;
    report.figure("tasks, each after the one before", tasks as f64, "");
    report.figure("accept of the workflow", millis(accepted), "ms");
    report.figure("from there to the last arrival", millis(steps), "ms");
    report.figure("for each task", millis(steps) / tasks as f64, "ms");
    Ok(stage.report.clone())
}
