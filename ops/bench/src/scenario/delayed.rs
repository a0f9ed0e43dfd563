//! Many tasks that are due much later: the memory of each, and how long a planned start takes with them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::stage::{Stage, resident, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::Due;

const TASKS: u32 = 1_000_000;
const CONNECTIONS: u16 = 128;
/// When they are due: after the end of the run.
const MUCH_LATER: Duration = Duration::from_secs(30 * 86_400);
/// Time for buffers to be written and garbage to be collected before each measurement. It is part
/// of the definition of the figure, not a synchronisation.
const SETTLE: Duration = Duration::from_secs(10);
/// Pause between two looks at the partitions.
const POLL: Duration = Duration::from_millis(20);
/// Time limit of the start.
const DEADLINE: Duration = Duration::from_secs(300);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    sleep(SETTLE).await;
    let mark = stage.mark().await?;
    let before = stage.system.usage()?;
    let due = Due::At(wall_clock_in(MUCH_LATER));
    let loaded = stage
        .load(CONNECTIONS, Pace::Closed, Until::Count(tasks), &due)
        .await?;
    stage.counted("delayed", loaded.accepted).await?;
    sleep(SETTLE).await;
    let usage = stage.system.usage()?;
    stage.account(&mark, loaded.accepted).await?;
    let bytes = |mib: f64| mib * 1_048_576.0 / loaded.accepted.max(1) as f64;
    stage
        .report
        .figure("delayed tasks", loaded.accepted as f64, "");
    let grown = bytes(resident(&usage) - resident(&before));
    stage
        .report
        .figure("memory of a task, all processes", grown, "bytes");

    let partitions = stage.system.partitions_served().await?;
    ensure!(partitions > 0, "the worker serves no partition");
    let begin = stage.system.stop_and_start().await?;
    let served = until_served(stage, partitions, begin).await?;
    stage.system.wait_until_ready().await?;
    let ready = begin.elapsed();
    sleep(SETTLE).await;
    let usage = stage.system.usage()?;
    let report = &mut stage.report;
    for (name, time) in [
        ("from a planned start to all partitions served", served),
        ("to a gateway that is ready too", ready),
    ] {
        report.figure(name, time.as_secs_f64(), "s");
    }
    let name = "memory after the start, all processes";
    report.figure(name, resident(&usage), "MiB");
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}

async fn until_served(stage: &Stage, partitions: usize, begin: Instant) -> Result<Duration> {
    loop {
        // Nobody answers before it is up.
        let served = stage.system.partitions_served().await.unwrap_or(0);
        if served >= partitions {
            return Ok(begin.elapsed());
        }
        ensure!(
            begin.elapsed() < DEADLINE,
            "{served} of {partitions} partitions are served after {DEADLINE:?}"
        );
        sleep(POLL).await;
    }
}
