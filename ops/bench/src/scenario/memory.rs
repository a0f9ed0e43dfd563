//! Memory that queued tasks take: resident sizes before and after, once everything has settled.
//!
//! The first tasks also fill the caches, which have their own limits; the cost of each further task
//! shows when the same number is queued again.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use super::stage::{Stage, resident, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::Due;

const TASKS: u32 = 100_000;
/// How many times that number is queued.
const ROUNDS: u64 = 3;
const CONNECTIONS: u16 = 64;
/// When the tasks are due: after the end of the run.
const MUCH_LATER: Duration = Duration::from_secs(3600);
/// Time for buffers to be written and garbage to be collected before each measurement. It is part
/// of the definition of the figure, not a synchronisation.
const SETTLE: Duration = Duration::from_secs(10);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    sleep(SETTLE).await;
    let mark = stage.mark().await?;
    let mut accepted = 0;
    let mut before = resident(&stage.system.usage()?);
    for round in 1..=ROUNDS {
        let due = Due::At(wall_clock_in(MUCH_LATER));
        let until = Until::Count(tasks);
        let loaded = stage.load(CONNECTIONS, Pace::Closed, until, &due).await?;
        accepted += loaded.accepted;
        stage.counted("delayed", accepted).await?;
        sleep(SETTLE).await;
        let now = resident(&stage.system.usage()?);
        let per_100k = (now - before) * 100_000.0 / loaded.accepted.max(1) as f64;
        let name = format!("grown by, per 100,000 queued tasks, all processes, round {round}");
        stage.report.figure(name, per_100k, "MiB");
        stage.note_failures(&loaded);
        before = now;
    }
    stage
        .report
        .figure("queued tasks in the end", accepted as f64, "");
    stage.account(&mark, accepted).await?;
    Ok(stage.report.clone())
}
