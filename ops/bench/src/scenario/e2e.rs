//! Tasks from acceptance through delivery to completion.

use anyhow::Result;

use super::stage::Stage;
use crate::args::Kind;
use crate::load::Pace;
use crate::report::Report;
use crate::request::Due;

pub(super) async fn run(stage: &mut Stage, kind: Kind) -> Result<Report> {
    let pace = match kind {
        Kind::E2eOpen => Pace::Rate(stage.arguments.rate),
        _ => Pace::Window(stage.arguments.window),
    };
    let primed = stage.next;
    let mark = stage.mark().await?;
    let loaded = stage
        .load(stage.arguments.connections, pace, stage.timed(), &Due::Now)
        .await?;
    let delivered = stage.deliveries.arrivals_between(loaded.from, loaded.to);
    stage.delivered(primed + loaded.accepted).await?;
    let all_delivered = stage.deliveries.last_arrival();
    let completed = stage.completed(primed + loaded.accepted).await?;
    stage.account(&mark, loaded.accepted).await?;

    match pace {
        Pace::Rate(rate) => stage.report.figure("offered", f64::from(rate), "/s"),
        Pace::Window(window) => {
            stage
                .report
                .figure("on their way at once, at most", f64::from(window), "tasks");
        }
        Pace::Closed => {}
    }
    let per_second = |count: u64| count as f64 / loaded.seconds();
    stage
        .report
        .figure("accepted", per_second(loaded.accepted_measured), "/s");
    stage
        .report
        .figure("delivered", per_second(delivered), "/s");
    let whole = completed - loaded.begin;
    let through = loaded.accepted as f64 / whole.as_secs_f64();
    stage.report.figure(
        "through to completion in the read model, from the first request to the last task",
        through,
        "/s",
    );
    let tail = all_delivered.saturating_duration_since(loaded.to);
    stage.report.figure(
        "last delivery after the last request",
        tail.as_secs_f64() * 1e3,
        "ms",
    );
    let tail = completed.saturating_duration_since(all_delivered);
    stage.report.figure(
        "last completion seen after the last delivery",
        tail.as_secs_f64() * 1e3,
        "ms",
    );
    stage.report.latency("accept", loaded.latencies.sum_up());
    let end_to_end = stage.deliveries.latencies(loaded.from, loaded.to)?;
    stage
        .report
        .latency("request to arrival at the target", end_to_end.sum_up());
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
