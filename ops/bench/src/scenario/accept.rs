//! Rate and latency of creations.

use std::time::Duration;

use anyhow::Result;

use super::stage::{Stage, wall_clock_in};
use crate::args::Kind;
use crate::load::Pace;
use crate::report::Report;
use crate::request::Due;

/// When the tasks are due: after the end of any run.
const MUCH_LATER: Duration = Duration::from_secs(3600);

pub(super) async fn run(stage: &mut Stage, kind: Kind) -> Result<Report> {
    let live = kind == Kind::AcceptLive;
    let due = if live {
        Due::Now
    } else {
        Due::At(wall_clock_in(MUCH_LATER))
    };
    let pace = match kind {
        Kind::AcceptOpen => Pace::Rate(stage.arguments.rate),
        _ => Pace::Closed,
    };
    let primed = stage.next;
    let mark = stage.mark().await?;
    let loaded = stage
        .load(stage.arguments.connections, pace, stage.timed(), &due)
        .await?;
    let delivered = stage.deliveries.arrivals_between(loaded.from, loaded.to);
    // The accepted tasks must also have been read by the worker and the projector before the use of
    // resources is taken.
    if live {
        stage.delivered(primed + loaded.accepted).await?;
        stage.completed(primed + loaded.accepted).await?;
    } else {
        stage.counted("delayed", loaded.accepted).await?;
    }
    stage.account(&mark, loaded.accepted).await?;
    if let Pace::Rate(rate) = pace {
        stage.report.figure("offered", f64::from(rate), "/s");
    }
    let per_second = |count: u64| count as f64 / loaded.seconds();
    stage
        .report
        .figure("accepted", per_second(loaded.accepted_measured), "/s");
    if live {
        stage
            .report
            .figure("delivered meanwhile", per_second(delivered), "/s");
    }
    stage.report.latency("accept", loaded.latencies.sum_up());
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
