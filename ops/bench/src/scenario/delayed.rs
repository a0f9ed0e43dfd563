//! Many tasks that are due much later: the memory of each, and how long a planned start takes with them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::stage::{Stage, resident, wall_clock_in};
use crate::load::{Pace, Until};
use crate::processes::Usage;
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
    let due = Due::At(wall_clock_in(MUCH_LATER));
    let before = stage.system.usage()?;
    // These fill the caches as well, which have limits of their own.
    let first = queue(stage, tasks.div_ceil(10), &due).await?;
    let between = stage.system.usage()?;
    let rest = queue(stage, tasks - first, &due).await?;
    let usage = stage.system.usage()?;
    stage.account(&mark, first + rest).await?;
    let grown = |from: &[Usage], to: &[Usage], by: u64| {
        (resident(to) - resident(from)) * 1_048_576.0 / by.max(1) as f64
    };
    for (name, value, unit) in [
        ("delayed tasks", (first + rest) as f64, ""),
        (
            "memory of each of the first tenth, all processes",
            grown(&before, &between, first),
            "bytes",
        ),
        (
            "memory of each further task, all processes",
            grown(&between, &usage, rest),
            "bytes",
        ),
    ] {
        stage.report.figure(name, value, unit);
    }

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
    Ok(stage.report.clone())
}

/// Creates so many tasks, and waits until memory has settled. Returns how many were accepted.
async fn queue(stage: &mut Stage, tasks: u64, due: &Due) -> Result<u64> {
    let before = stage.system.count("delayed").await?;
    let loaded = stage
        .load(CONNECTIONS, Pace::Closed, Until::Count(tasks), due)
        .await?;
    ensure!(loaded.failures.count() == 0, "{:?}", loaded.failures);
    stage.counted("delayed", before + loaded.accepted).await?;
    sleep(SETTLE).await;
    Ok(loaded.accepted)
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
