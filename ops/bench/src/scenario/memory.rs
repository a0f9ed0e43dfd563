//! What queued tasks take in memory: resident sizes before and after, when everything has settled.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::stage::{Stage, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::Due;

const TASKS: u32 = 100_000;
const CONNECTIONS: u16 = 64;
/// Later than the run lasts.
const MUCH_LATER: Duration = Duration::from_secs(3600);
/// For buffers to be written and garbage to be collected, before each look. This is no synchronisation: it defines what is measured.
const SETTLE: Duration = Duration::from_secs(10);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    sleep(SETTLE).await;
    let mark = stage.mark().await?;
    let due = Due::At(wall_clock_in(MUCH_LATER));
    let loaded = stage
        .load(CONNECTIONS, Pace::Closed, Until::Count(tasks), &due)
        .await?;
    stage.counted("delayed", loaded.accepted).await?;
    sleep(SETTLE).await;
    stage.account(&mark, loaded.accepted).await?;
    let grown: f64 = stage
        .report
        .processes
        .iter()
        .map(|process| process.rss_growth_mib)
        .sum();
    let per_100k = grown * 100_000.0 / loaded.accepted.max(1) as f64;
    stage
        .report
        .figure("queued tasks", loaded.accepted as f64, "");
    stage.report.figure(
        "grown by, per 100,000 queued tasks, all processes",
        per_100k,
        "MiB",
    );
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
