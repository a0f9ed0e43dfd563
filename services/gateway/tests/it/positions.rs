//! Positions that answers tell, and reads that wait for them at another gateway.

use anyhow::{Context, Result};
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_log::{Log, Stream};
use waybill_testkit::http::Http;

use crate::world::{World, a_task, a_task_for_now};

const POSITION: &str = "waybill-position";

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_another_gateway_knows_of_the_position_that_it_is_asked_for() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let second = world.another("second", &stop).await?;
    let other = Http::at(second.addr()).with_key(&world.key);
    let mut last = 0;
    for round in 1..=20 {
        let created = world.http.post("/v1/tasks", &a_task()).await?;
        let position = created.header(POSITION).context("a position")?;
        let number: u64 = position.parse()?;
        assert!(number > last, "positions rise: {last}, {number}");
        last = number;
        let listed = other.get(&format!("/v1/tasks?at={position}")).await?;
        assert_eq!(listed.status, 200, "{}", listed.text());
        let listed = listed.json();
        assert_eq!(listed["warnings"], serde_json::Value::Null, "{listed}");
        let tasks = listed["tasks"].as_array().context("a list")?;
        assert_eq!(tasks.len(), round);
        let counted = other.get("/v1/tasks").await?.json();
        let tasks = counted["tasks"].as_array().context("a list")?;
        assert_eq!(tasks.len(), round, "what it was told of it does not forget");
    }
    stop.cancel();
    second.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_to_a_write_tells_its_position_and_a_read_does_not() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let end = async || anyhow::Ok(world.log.bounds(Stream::Tasks).await?.last.0.to_string());
    let key = [("idempotency-key", "k")];
    let task = a_task().to_string();
    let first = http
        .send(Method::POST, "/v1/tasks", &key, task.clone())
        .await?;
    assert_eq!(first.header(POSITION), Some(&*end().await?));
    let told = first.header(POSITION).context("a position")?.to_owned();
    let batch = json!({ "tasks": [a_task_for_now(), a_task()] });
    let batch = http.post("/v1/tasks/batch", &batch).await?;
    assert_eq!(batch.header(POSITION), Some(&*end().await?));
    let again = http
        .send(Method::POST, "/v1/tasks", &key, task.clone())
        .await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header(POSITION), Some(&*told), "that of the first");
    let read = http.get("/v1/tasks").await?;
    assert_eq!(read.header(POSITION), None);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_never_told_is_refused_and_nobody_waits_for_it() -> Result<()> {
    let world = World::start().await?;
    let created = world.http.post("/v1/tasks", &a_task()).await?;
    let told: u64 = created.header(POSITION).context("a position")?.parse()?;
    for wrong in [
        (told + 1).to_string(),
        "x".into(),
        "-1".into(),
        String::new(),
    ] {
        let refused = world.http.get(&format!("/v1/tasks?at={wrong}")).await?;
        assert_eq!(refused.status, 400, "{wrong}: {}", refused.text());
        assert_eq!(refused.json()["field"], "at", "{}", refused.text());
        assert!(refused.error().starts_with("at must"), "{}", refused.text());
    }
    assert_eq!(world.http.get("/v1/tasks").await?.status, 200);
    world.stop().await
}
