//! How fast a backlog is worked off that becomes due all at once.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::time::sleep_until;

use super::stage::{Stage, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::Due;

const TASKS: u32 = 100_000;
/// Number of connections that create the backlog.
const CONNECTIONS: u16 = 128;

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let primed = stage.next;
    let ahead = stage.arguments.due_in();
    let due_at = Instant::now() + ahead;
    let due = Due::At(wall_clock_in(ahead));
    let loaded = stage
        .load(CONNECTIONS, Pace::Closed, Until::Count(tasks), &due)
        .await?;
    stage.counted("delayed", loaded.accepted).await?;
    ensure!(
        Instant::now() < due_at,
        "accepting {tasks} tasks took longer than {ahead:?}: give --due-in"
    );
    let mark = stage.mark().await?;
    sleep_until(due_at.into()).await;
    stage.delivered(primed + loaded.accepted).await?;
    let all_delivered = stage.deliveries.last_arrival();
    let completed = stage.completed(primed + loaded.accepted).await?;
    stage.account(&mark, loaded.accepted).await?;

    let rate = |until: Instant| loaded.accepted as f64 / (until - due_at).as_secs_f64();
    stage
        .report
        .figure("backlog", loaded.accepted as f64, "tasks");
    stage.report.figure("delivered", rate(all_delivered), "/s");
    stage
        .report
        .figure("completed in the read model", rate(completed), "/s");
    stage.report.figure(
        "from due to the last delivery",
        (all_delivered - due_at).as_secs_f64(),
        "s",
    );
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
