//! How long a task of one team waits while another team has a crowd queued, against its wait on an idle system.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::{sleep, sleep_until};
use waybill_sink::{Plan, Recording, Sink, SinkOptions};

use super::stage::{PATIENCE, Stage, wall_clock_in};
use crate::http1::Connection;
use crate::latency::Latency;
use crate::load::{Pace, Until};
use crate::report::Report;
use crate::request::{Due, Tasks, Template};

/// Tasks of the crowd.
const TASKS: u32 = 100_000;
const CONNECTIONS: u16 = 128;
/// How long the target of the crowd takes, so that its tasks wait for slots.
const SERVICE: Duration = Duration::from_millis(200);
/// Calls of the crowd that are made before the measurement: more than there are slots.
const UNDER_WAY: u64 = 1_000;
/// Single tasks, once on the idle system and once beside the crowd.
const SINGLES: u32 = 200;
/// Pause before each of them.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let path = format!("/delay/{}ms", SERVICE.as_millis());
    let options = SinkOptions {
        recording: Recording::CountOnly,
        script: Some(Arc::new(move |_| Some(Plan::of(&path, None)))),
        ..SinkOptions::default()
    };
    // Of another host, since workers limit the calls to a host.
    let slow = Sink::start(([127, 0, 0, 2], 0).into(), options).await?;
    let mut target = stage.system.target.clone();
    target.key = stage.system.second_key().await?;
    let url = stage.sink.url("/");
    let mut template = Template::new(&stage.arguments, &target, &url, &Due::Now)?;
    let idle = one_by_one(stage, &mut template).await?;
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let ahead = stage.arguments.due_in();
    let due_at = Instant::now() + ahead;
    let crowd = stage
        .load_of(
            CONNECTIONS,
            Pace::Closed,
            Until::Count(tasks),
            Tasks {
                url: &slow.url("/"),
                due: &Due::At(wall_clock_in(ahead)),
                members: "",
            },
        )
        .await?;
    stage.counted("delayed", crowd.accepted).await?;
    ensure!(
        Instant::now() < due_at,
        "accepting {tasks} tasks took longer than {ahead:?}: give --due-in"
    );
    let mark = stage.mark().await?;
    sleep_until(due_at.into()).await;
    slow.wait_for(UNDER_WAY.min(tasks), PATIENCE).await?;
    let beside = one_by_one(stage, &mut template).await?;
    let called = slow.count();
    ensure!(
        called < crowd.accepted,
        "the crowd is gone before the end of the measurement: give more --tasks"
    );
    stage.account(&mark, called).await?;

    let report = &mut stage.report;
    report.figure("queued by the other team", crowd.accepted as f64, "tasks");
    report.figure(
        "of these called by the end of the measurement",
        called as f64,
        "",
    );
    let service = SERVICE.as_secs_f64() * 1e3;
    report.figure("each of these calls takes", service, "ms");
    report.figure("p99 beside the crowd", beside.p99_ms, "ms");
    report.figure(
        "at most: twice the idle p99, and a call for each of the two teams",
        2.0 * idle.p99_ms + 2.0 * service,
        "ms",
    );
    report.latency("request to arrival, idle", idle);
    report.latency("request to arrival, beside the crowd", beside);
    stage.note_failures(&crowd);
    Ok(stage.report.clone())
}

/// Sends single tasks of the second team, and returns how long each took to arrive.
async fn one_by_one(stage: &mut Stage, template: &mut Template) -> Result<Latency> {
    // The gateway closes one that has been idle for long.
    let mut connection = Connection::open(stage.system.target.address).await?;
    let begin = Instant::now();
    for _ in 0..SINGLES {
        sleep(PAUSE).await;
        let number = stage.next;
        stage.next += 1;
        let arrived = stage.deliveries.distinct();
        stage.deliveries.sent(number, Instant::now());
        let answer = connection.exchange(template.patch(number)).await?;
        ensure!(
            answer.status == 201,
            "a task is answered with {}",
            answer.status
        );
        stage.delivered(arrived + 1).await?;
    }
    Ok(stage.deliveries.latencies(begin, Instant::now())?.sum_up())
}
