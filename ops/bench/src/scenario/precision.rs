//! How late tasks arrive that are due one after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep_until;

use super::stage::{Stage, wall_clock};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::{Dates, Due};

/// Tasks that are due each second.
const DUE_PER_SECOND: u32 = 1_000;
const CONNECTIONS: u16 = 128;

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let (warm_up, measured) = (stage.arguments.warm_up(), stage.arguments.measured());
    let tasks = (warm_up + measured).as_secs() * u64::from(DUE_PER_SECOND);
    let ahead = stage.arguments.due_in();
    let primed = stage.next;
    // In this order: a due time that is taken for a little earlier than it is makes no latency look shorter.
    let (now, wall) = (Instant::now(), wall_clock());
    let dates = Dates {
        first: primed,
        from_ms: i64::try_from((wall + ahead).as_millis())?,
        per_second: DUE_PER_SECOND,
    };
    let loaded = stage
        .load(
            CONNECTIONS,
            Pace::Closed,
            Until::Count(tasks),
            &Due::Each(dates),
        )
        .await?;
    stage.counted("delayed", loaded.accepted).await?;
    let due = |number: u64| -> Result<Instant> {
        let date = Duration::from_millis(dates.of(number).try_into()?);
        Ok(now + date.saturating_sub(wall))
    };
    let first = due(primed)?;
    ensure!(
        Instant::now() < first,
        "accepting {tasks} tasks took longer than {ahead:?}: give --due-in"
    );
    for number in primed..stage.next {
        stage.deliveries.sent(number, due(number)?);
    }
    let mark = stage.mark().await?;
    sleep_until(first.into()).await;
    stage.delivered(primed + loaded.accepted).await?;
    stage.completed(primed + loaded.accepted).await?;
    stage.account(&mark, loaded.accepted).await?;
    let from = first + warm_up;
    let late = stage.deliveries.latencies(from, due(stage.next)?)?;
    stage
        .report
        .figure("due", f64::from(DUE_PER_SECOND), "tasks/s");
    stage
        .report
        .latency("due to arrival at the target", late.sum_up());
    stage.note_failures(&loaded);
    Ok(stage.report.clone())
}
