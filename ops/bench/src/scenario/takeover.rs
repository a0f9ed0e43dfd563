//! How long partitions with many open tasks have no owner after `waybill up` was killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::stage::{PATIENCE, Stage, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::Due;

const TASKS: u32 = 100_000;
/// Number of connections that create the open tasks.
const CONNECTIONS: u16 = 128;
/// When they are due: long after the run, so that taking them over is all that there is to do.
const MUCH_LATER: Duration = Duration::from_secs(30 * 86_400);
/// Pause between two looks at the partitions.
const POLL: Duration = Duration::from_millis(20);
/// Time limit of the takeover.
const DEADLINE: Duration = Duration::from_secs(300);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let due = Due::At(wall_clock_in(MUCH_LATER));
    let until = Until::Count(tasks);
    let loaded = stage.load(CONNECTIONS, Pace::Closed, until, &due).await?;
    stage.counted("delayed", loaded.accepted).await?;
    let partitions = stage.system.partitions_served().await?;
    ensure!(partitions > 0, "the worker serves no partition");

    let mark = stage.mark().await?;
    let arrived = stage.deliveries.distinct();
    let begin = Instant::now();
    stage.system.kill_and_start().await?;
    let mut first = None;
    let mut served = 0;
    while served < partitions {
        // Nobody answers before it is up.
        served = stage.system.partitions_served().await.unwrap_or(0);
        if served > 0 {
            first.get_or_insert_with(|| begin.elapsed());
        }
        ensure!(
            begin.elapsed() < DEADLINE,
            "{served} of {partitions} partitions are owned after {DEADLINE:?}"
        );
        sleep(POLL).await;
    }
    let all = begin.elapsed();
    stage.system.wait_until_ready().await?;
    let ready = begin.elapsed();
    // One task for each queue, and so for the partitions that have any.
    let queues = u64::from(stage.arguments.queues);
    let new = stage
        .load(8, Pace::Closed, Until::Count(queues), &Due::Now)
        .await?;
    ensure!(new.accepted == queues, "{:?}", new.failures);
    stage
        .deliveries
        .wait_for(arrived + queues, PATIENCE)
        .await?;

    let report = &mut stage.report;
    report.figure("open tasks", loaded.accepted as f64, "");
    let first = first.unwrap_or(all);
    for (name, time) in [
        ("from kill -9 to the first owned partition", first),
        ("to all of them owned", all),
        ("to a gateway that is ready too", ready),
        (
            "to a new task in each queue that has arrived",
            begin.elapsed(),
        ),
    ] {
        report.figure(name, time.as_secs_f64(), "s");
    }
    // Of the processes that were started again: everything since their start.
    stage.account(&mark, loaded.accepted).await?;
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
