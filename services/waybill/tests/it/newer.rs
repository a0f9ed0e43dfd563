//! A partition that a newer build wrote to: what clients and operators of this one see of it.

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use http::StatusCode;
use serde_json::{Value, json};
use waybill_domain::id::TaskId;
use waybill_log::NatsConfig;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::NatsServer;
use waybill_testkit::http::Http;
use waybill_testkit::nats::free_port;

use crate::installation::Installation;
use crate::process::PATIENCE;

/// A creation of a version that this build does not know.
const NEWER: &str = "task.created.v99";

fn partition(task: &str) -> Result<u16> {
    let id = TaskId::parse(task).context("an id")?;
    Ok(id.partition().get())
}

/// What `waybill log skipped` lists.
async fn skipped(installation: &mut Installation) -> Result<Vec<Value>> {
    let listed = installation.run(&["log", "skipped", "--json"]).await?;
    let lines = listed.succeeded().stdout;
    Ok(lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_a_partition_left_to_a_newer_build_wait_and_everybody_is_told() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let nats = NatsServer::start().await?;
    installation.set("NATS_URL", &nats.url());
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    let mut up = installation.up().await?;
    let http = up.http(&key);
    let operator = Http::new(&format!("http://{metrics}"), None);
    operator.until("/readyz", StatusCode::OK).await?;

    let waits = json!({"targetUrl": sink.url("/left"), "queue": "left", "delay": 3_600});
    let waiting = http.create(&waits).await?;
    let team = http.task(&waiting).await?["teamId"].clone();
    let team = team.as_str().context("a team")?;
    let left = partition(&waiting)?;
    let log = waybill_log::connect(&NatsConfig::at(nats.url())).await?;
    let mut headers = HeaderMap::new();
    headers.insert("Wb-Event", NEWER);
    let subject = format!("tasks.{left}.{team}.left.created");
    async_nats::jetstream::new(log.client())
        .publish_with_headers(subject, headers, "of a newer build".into())
        .await?
        .await?;

    // Operators: the worker is not ready, says why, and counts it.
    let says = |readiness: &Value| {
        let reason = readiness["reason"].as_str().unwrap_or_default().to_owned();
        reason == format!("Partitions that this version cannot own: {left}")
    };
    waybill_testkit::eventually(PATIENCE, async || {
        let readiness = operator.get("/readyz").await;
        readiness.is_ok_and(|answer| answer.status == 503 && says(&answer.json()))
    })
    .await
    .context("the worker says which partition it has left")?;
    let readiness = operator.get("/readyz").await?.json();
    let state = &readiness["partitions"][left.to_string()];
    assert_eq!(state["state"], "left", "{readiness}");
    let reason = state["reason"].as_str().context("a reason")?;
    assert!(reason.contains(NEWER), "{reason}");
    let gauges = operator.get("/metrics").await?.text();
    assert!(gauges.contains("waybill_partitions_left_to_newer 1"));
    up.process
        .says(|_, stderr| stderr.contains("upgrade this worker").then_some(()))
        .await?;
    waybill_testkit::eventually(PATIENCE, async || {
        let listed = skipped(&mut installation).await.unwrap_or_default();
        listed
            .iter()
            .any(|record| record["event"] == NEWER && record["reason"] == "newer")
    })
    .await
    .context("the record is listed")?;

    // Clients: what is known of its tasks is answered, further ones are accepted and wait, and what
    // only the owner may decide is refused for now. The gateway serves everything else.
    let ready = http.get("/readyz?verbose").await?;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
    assert_eq!(ready.json()["status"], "ready", "{}", ready.text());
    assert_eq!(http.task(&waiting).await?["status"], "delayed");
    let due = json!({"targetUrl": sink.url("/left"), "queue": "left"});
    let due = http.create(&due).await?;
    assert_eq!(partition(&due)?, left);
    let refused = http
        .post(&format!("/v1/tasks/{waiting}/cancel"), &json!({}))
        .await?;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "owner_unavailable"),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
    let mut served = 0;
    for number in 0..32 {
        let queue = format!("queue-{number}");
        let task = json!({"targetUrl": sink.url("/served"), "queue": queue});
        let task = http.create(&task).await?;
        if partition(&task)? != left {
            http.completed(&task).await?;
            served += 1;
        }
    }
    assert!(served > 8, "{served}");
    assert_eq!(http.task(&due).await?["status"], "pending");
    let called = sink.received();
    assert!(
        called.iter().all(|call| call.path == "/served"),
        "{called:?}"
    );
    up.interrupt().await?.succeeded();
    Ok(())
}
