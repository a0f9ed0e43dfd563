//! Schedules that are all due at the same second: how long it takes until each has its task.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use waybill_domain::time::Timestamp;

use super::stage::{PATIENCE, Stage, wall_clock};
use crate::http1::Connection;
use crate::report::Report;
use crate::system::Target;

const SCHEDULES: u32 = 10_000;
/// Connections that create them.
const CONNECTIONS: usize = 32;
const QUEUE: &str = "scheduled";

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    LocalSet::new().run_until(fire(stage)).await
}

async fn fire(stage: &mut Stage) -> Result<Report> {
    let schedules = stage.arguments.tasks.unwrap_or(SCHEDULES);
    let target = stage.system.target.clone();
    let begin = Instant::now();
    // On a full second, as cron expressions are.
    let ahead = stage.arguments.due_in();
    let due = Timestamp(i64::try_from((wall_clock() + ahead).as_secs())? * 1_000);
    create(&target, schedules, due).await?;
    let created_in = begin.elapsed();
    let left = Duration::from_millis(u64::try_from(due.0)?).checked_sub(wall_clock());
    let left =
        left.context("creating the schedules took longer than until they are due: give --due-in")?;
    let mark = stage.mark().await?;
    let due_at = Instant::now() + left;
    tokio::time::sleep_until(due_at.into()).await;
    let give_up = due_at + PATIENCE;
    let mut connection = Connection::open(target.address).await?;
    let path = format!("/v1/tasks?kind=all&queue={QUEUE}&limit=1&fields=createdAt");
    let list = target.request("GET", &path, "");
    let newest = loop {
        let answer = connection.exchange(list.as_bytes()).await?;
        let page: Value = serde_json::from_slice(connection.body(answer))?;
        let made = page["pagination"]["total"].as_u64();
        if made == Some(u64::from(schedules)) {
            let newest = page["tasks"][0]["createdAt"].as_str();
            break newest
                .and_then(Timestamp::parse_iso8601)
                .context("a date")?;
        }
        ensure!(
            Instant::now() < give_up,
            "{made:?} of {schedules} schedules have their task"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let shown = due_at.elapsed();
    stage.account(&mark, u64::from(schedules)).await?;
    let fired = newest.since(due);
    stage
        .report
        .figure("schedules due in the same second", f64::from(schedules), "");
    stage
        .report
        .figure("made in", created_in.as_secs_f64(), "s");
    stage.report.figure(
        "from due until the last one fired",
        fired.as_secs_f64(),
        "s",
    );
    stage.report.figure(
        "from due until all are in the read model",
        shown.as_secs_f64(),
        "s",
    );
    Ok(stage.report.clone())
}

/// Creates schedules that are due once. Their tasks are pulled, so that no calls compete.
async fn create(target: &Target, schedules: u32, due: Timestamp) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut creating = Vec::new();
    for _ in 0..CONNECTIONS {
        let (target, next) = (target.clone(), next.clone());
        creating.push(tokio::task::spawn_local(async move {
            let mut connection = Connection::open(target.address).await?;
            loop {
                let number: u32 = next.get();
                if number >= schedules {
                    return anyhow::Ok(());
                }
                next.set(number + 1);
                let schedule = json!({
                    "name": format!("bench {number}"),
                    "when": format!("at {}", due.to_rfc3339()),
                    "task": {"queue": QUEUE, "json": {"number": number}},
                });
                let request = target.request("POST", "/v1/schedules", &schedule.to_string());
                let answer = connection.exchange(request.as_bytes()).await?;
                ensure!(
                    answer.status == 201,
                    "a schedule is answered {}: {}",
                    answer.status,
                    String::from_utf8_lossy(connection.body(answer))
                );
            }
        }));
    }
    for one in creating {
        one.await??;
    }
    Ok(())
}
