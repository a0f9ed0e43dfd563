//! What ordering keys, limits of queues, fairness keys and limit keys cost: the rate at which a backlog is worked off, in turn with one that has none of these.

use std::time::Instant;

use anyhow::{Result, ensure};
use tokio::time::sleep_until;

use super::stage::{Stage, wall_clock_in};
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::{Due, Tasks};
use crate::spread::Spread;

/// Tasks of each backlog.
const TASKS: u32 = 20_000;
const CONNECTIONS: u16 = 128;
/// Limits that every start has to be counted against, and that hold hardly any of them back.
const LIMITS: &str = r#"{"concurrency":64,"rate":{"limit":1000000,"per":"1s","burst":1000000}}"#;
/// One of a thousand keys, and two that all tasks share and that thus span all partitions. They hold hardly any task back either.
const THREE_KEYS: &str = r#""limits":[{"key":"customer-%%%%","concurrency":64},{"key":"account","concurrency":4096},{"key":"provider","rate":{"limit":1000000,"per":"1s","burst":1000000}}],"#;

/// What a backlog is subject to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Control {
    Nothing,
    OrderingKeys,
    QueueLimits,
    FairnessKeys,
    LimitKeys,
}

impl Control {
    const ALL: [Self; 5] = [
        Self::Nothing,
        Self::OrderingKeys,
        Self::QueueLimits,
        Self::FairnessKeys,
        Self::LimitKeys,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "with nothing",
            Self::OrderingKeys => "with 1,000 ordering keys",
            Self::QueueLimits => "in queues with limits of concurrency and rate",
            Self::FairnessKeys => "with 1,000 fairness keys",
            Self::LimitKeys => "with three limit keys for each task",
        }
    }

    fn members(self) -> &'static str {
        match self {
            Self::Nothing | Self::QueueLimits => "",
            Self::OrderingKeys => r#""orderingKey":"order-%%%%","#,
            Self::FairnessKeys => r#""fairnessKey":"customer-%%%%","#,
            Self::LimitKeys => THREE_KEYS,
        }
    }

    fn limits(self) -> &'static str {
        match self {
            Self::QueueLimits => LIMITS,
            Self::Nothing | Self::OrderingKeys | Self::FairnessKeys | Self::LimitKeys => "{}",
        }
    }
}

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let mark = stage.mark().await?;
    let mut rates = Control::ALL.map(|control| (control, Vec::new()));
    for round in 1..=stage.arguments.rounds {
        for (control, rates) in &mut rates {
            let rate = drain(stage, *control).await?;
            eprintln!(
                "waybill-bench: round {round}, {}: {rate:.0}/s",
                control.name()
            );
            rates.push(rate);
        }
    }
    let spreads = rates.map(|(control, rates)| (control, Spread::of(rates)));
    let plain = spreads[0].1.median;
    for (control, spread) in spreads {
        let name = control.name();
        let report = &mut stage.report;
        report.figure(format!("delivered {name}, median"), spread.median, "/s");
        report.figure(format!("delivered {name}, least"), spread.least, "/s");
        report.figure(format!("delivered {name}, most"), spread.most, "/s");
        if control != Control::Nothing {
            let ratio = spread.median / plain;
            report.figure(format!("{name}, against nothing"), ratio, "");
        }
    }
    let all = stage.next;
    stage.account(&mark, all).await?;
    Ok(stage.report.clone())
}

/// The rate at which one backlog is delivered.
async fn drain(stage: &mut Stage, control: Control) -> Result<f64> {
    for number in 0..stage.arguments.queues {
        let queue = format!("bench-{number:02}");
        stage.system.limit_queue(&queue, control.limits()).await?;
    }
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let before = stage.deliveries.distinct();
    let ahead = stage.arguments.due_in();
    let due_at = Instant::now() + ahead;
    let loaded = stage
        .load_of(
            CONNECTIONS,
            Pace::Closed,
            Until::Count(tasks),
            Tasks {
                url: &stage.sink.url("/"),
                due: &Due::At(wall_clock_in(ahead)),
                members: control.members(),
            },
        )
        .await?;
    ensure!(loaded.failures.count() == 0, "{:?}", loaded.failures);
    stage.counted("delayed", tasks).await?;
    ensure!(
        Instant::now() < due_at,
        "accepting {tasks} tasks took longer than {ahead:?}: give --due-in"
    );
    sleep_until(due_at.into()).await;
    stage.delivered(before + tasks).await?;
    let took = stage.deliveries.last_arrival() - due_at;
    stage.completed(stage.next).await?;
    Ok(tasks as f64 / took.as_secs_f64())
}
