//! One task at a time: latency and cost without any contention.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::stage::Stage;
use crate::http1::Connection;
use crate::latency::Latencies;
use crate::report::Report;
use crate::request::{Due, Template};

const TASKS: u32 = 1000;
/// Pause after each task in which its outcome is stored, so that the next task finds an idle
/// system.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let target = stage.system.target.clone();
    let mut template = Template::new(&stage.arguments, &target, &stage.sink.url("/"), &Due::Now)?;
    let mut connection = Connection::open(target.address).await?;
    let mut accepts = Latencies::new()?;
    let begin = Instant::now();
    let mark = stage.mark().await?;
    for _ in 0..tasks {
        let number = stage.next;
        stage.next += 1;
        sleep(PAUSE).await;
        let sent = Instant::now();
        stage.deliveries.sent(number, sent);
        let answer = connection.exchange(template.patch(number)).await?;
        ensure!(
            answer.status == 201,
            "a task is answered with {}",
            answer.status
        );
        accepts.record(sent.elapsed());
        stage.delivered(stage.next).await?;
    }
    let end = Instant::now();
    stage.completed(stage.next).await?;
    stage.account(&mark, tasks).await?;
    stage
        .report
        .figure("tasks, one after the other", tasks as f64, "");
    stage.report.latency("accept", accepts.sum_up());
    let end_to_end = stage.deliveries.latencies(begin, end)?;
    stage
        .report
        .latency("request to arrival at the target", end_to_end.sum_up());
    Ok(stage.report.clone())
}
