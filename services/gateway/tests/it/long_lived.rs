//! Tasks that live longer than the log keeps anything, and tasks whose record is damaged, as clients see them.

use std::time::Duration;

use anyhow::Result;
use http::StatusCode;
use serde_json::json;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::task::{Limits, TaskRequest, TaskSpec};
use waybill_domain::time::Timestamp;
use waybill_gateway::GatewayConfig;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{Append, Atomicity, Expectation, Log, NewRecord, Stream};
use waybill_testkit::eventually;

use crate::owner::now;
use crate::world::{SOON, World, config};

const DAY: Duration = Duration::from_secs(86_400);
/// The longest delay.
const YEAR: Duration = Duration::from_secs(366 * 86_400);

#[tokio::test(flavor = "multi_thread")]
async fn a_task_may_be_delayed_for_a_year_and_no_longer() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        max_delay: GatewayConfig::default().max_delay,
        ..config()
    })
    .await?;
    let url = "http://127.0.0.1:9/hook";
    let due = now().plus(YEAR);
    let at = |due: Timestamp| json!({"targetUrl": url, "delayUntil": due.to_rfc3339()});
    let made = world.http.post("/v1/tasks", &at(due)).await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(made.task()["delayUntil"], due.to_rfc3339());
    let made = json!({"targetUrl": url, "delay": "366d"});
    let made = world.http.post("/v1/tasks", &made).await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    for (field, body) in [
        ("delayUntil", at(due.plus(DAY))),
        ("delay", json!({"targetUrl": url, "delay": "367d"})),
    ] {
        let refused = world.http.post("/v1/tasks", &body).await?;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{}",
            refused.text()
        );
        let said = refused.text();
        assert!(said.contains(field) && said.contains("366"), "{said}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_creation_is_damaged_is_shown_with_what_is_left_of_it() -> Result<()> {
    let world = World::start().await?;
    let queue = QueueName::default();
    let partition = Partition::of(&world.team, &queue, PartitionCount::default());
    let id = TaskId::new(now(), 7, partition);
    let request = TaskRequest {
        target_url: Some("http://127.0.0.1:9/hook".into()),
        body: Some("x".repeat(500)),
        ..TaskRequest::default()
    };
    let limits = Limits {
        max_wait: DAY,
        max_delay: YEAR,
    };
    let spec =
        TaskSpec::check(request, &limits, now()).map_err(|why| anyhow::anyhow!("{why:?}"))?;
    let event = TaskEvent::Created(Box::new(spec.accept(id, world.team.clone(), None, now())));
    let mut payload = event.encode();
    // As a disk might: the end of it is gone.
    payload.truncate(payload.len() / 2);
    let record = NewRecord {
        subject: TaskSubject::event(partition, &world.team, &queue, CREATED).to_string(),
        event: event.name(),
        actor: "system:test".into(),
        traceparent: None,
        origin: None,
        payload: payload.into(),
    };
    let append = Append {
        stream: Stream::Tasks,
        records: vec![record],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    world.log.append(append).await?;
    let path = format!("/v1/tasks/{id}");
    let mut shown = None;
    eventually(SOON, async || {
        shown = world.http.get(&path).await.ok();
        shown
            .as_ref()
            .is_some_and(|shown| shown.status == StatusCode::OK)
    })
    .await?;
    let shown = shown.ok_or_else(|| anyhow::anyhow!("an answer"))?;
    let task = shown.task();
    assert_eq!(task["id"], id.to_string());
    assert_eq!(task["status"], "failed", "{}", shown.text());
    assert!(shown.text().contains("is damaged"), "{}", shown.text());
    // Neither is it listed as if nothing had happened, nor does it hide the others.
    let listed = world.http.get("/v1/tasks").await?;
    assert!(listed.text().contains(&id.to_string()), "{}", listed.text());
    let cancelled = world
        .http
        .post(&format!("{path}/cancel"), &json!({}))
        .await?;
    assert_eq!(
        cancelled.status,
        StatusCode::CONFLICT,
        "{}",
        cancelled.text()
    );
    world.stop().await
}
