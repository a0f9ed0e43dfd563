//! A log that is away or silent: refused in time, never a hang, and recovery by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use waybill_gateway::GatewayConfig;
use waybill_testkit::eventually;

use crate::world::{SOON, World, a_task, config};

/// The deadline of an append in these tests is two seconds; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(12);

async fn refused_in_time(world: &World) -> Result<()> {
    let start = Instant::now();
    let refused = world.http.post("/v1/tasks", &a_task()).await?;
    assert_eq!(refused.status, 503, "{}", refused.error());
    assert_eq!(refused.header("retry-after"), Some("1"));
    match refused.code().as_str() {
        // It may have been stored: the client is told which task to look for.
        "outcome_unknown" => assert!(refused.json()["taskId"].is_string()),
        code => assert_eq!(code, "log_unavailable"),
    }
    assert!(start.elapsed() < IN_TIME, "after {:?}", start.elapsed());
    let start = Instant::now();
    let read = world.http.get("/v1/tasks").await?;
    assert_eq!(
        (read.status.as_u16(), read.header("retry-after")),
        (503, Some("1"))
    );
    assert!(start.elapsed() < IN_TIME, "after {:?}", start.elapsed());
    eventually(SOON, async || {
        let ready = world.http.get("/readyz").await;
        ready.is_ok_and(|answer| answer.status == 503)
    })
    .await?;
    assert_eq!(world.http.get("/healthz").await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_outcome_is_unknown_tells_the_id_of_each_task() -> Result<()> {
    let mut world = World::start().await?;
    world.nats.pause()?;
    let tasks = json!({"tasks": vec![a_task(); 20]});
    let unknown = world.http.post("/v1/tasks/batch", &tasks).await?;
    // What was never sent is not stored; what was sent and not answered may be.
    let results = unknown.json()["results"].clone();
    let results = results.as_array().expect("results, whatever happened");
    assert_eq!(results.len(), 20);
    let ids: Vec<_> = results
        .iter()
        .filter(|result| result["code"] == "outcome_unknown")
        .map(|result| result["taskId"].as_str().expect("an id").to_owned())
        .collect();
    match unknown.status.as_u16() {
        207 => assert_eq!(ids.len(), 20),
        503 => assert!(ids.is_empty() && unknown.header("retry-after") == Some("1")),
        other => panic!("{other}: {}", unknown.error()),
    }
    world.nats.resume()?;
    world.ready().await?;
    // Each of them can be looked for: either it is there, or it is not.
    for id in &ids {
        let read = world.http.get(&format!("/v1/tasks/{id}")).await?;
        assert!(
            matches!(read.status.as_u16(), 200 | 404),
            "{}",
            read.error()
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_log_is_a_503_with_retry_after() -> Result<()> {
    let mut world = World::start().await?;
    world.nats.pause()?;
    refused_in_time(&world).await?;
    world.nats.resume()?;
    world.ready().await?;
    assert_eq!(world.http.post("/v1/tasks", &a_task()).await?.status, 201);
    world.stop().await
}

/// Each request that waits for the log takes memory, and there may be as many as clients have connections and streams.
#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_requests_wait_for_a_silent_log_and_others_are_refused_at_once() -> Result<()>
{
    let mut world = World::start_with(GatewayConfig {
        max_requests_under_way: 16,
        ..config()
    })
    .await?;
    world.nats.pause()?;
    let ask = async || {
        let start = Instant::now();
        let answer = world.http.get("/v1/tasks").await?;
        anyhow::Ok((answer, start.elapsed()))
    };
    let answers = futures::future::try_join_all((0..40).map(|_| ask())).await?;
    let (refused, waited): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(answer, _)| answer.code() == "busy");
    // A quarter of the places is for one network.
    assert!(waited.len() < 20 && !waited.is_empty(), "{}", waited.len());
    for (answer, took) in &refused {
        let told = (answer.status.as_u16(), answer.header("retry-after"));
        assert_eq!(told, (503, Some("1")));
        assert!(*took < IN_TIME, "{took:?}");
    }
    let soonest = refused.iter().map(|(_, took)| *took).min();
    let patient = waited.iter().map(|(_, took)| *took).min();
    assert!(soonest < patient, "{soonest:?} is not before {patient:?}");
    assert_eq!(world.http.get("/healthz").await?.status, 200);
    world.nats.resume()?;
    world.ready().await?;
    assert_eq!(world.http.get("/v1/tasks").await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_log_is_a_503_and_what_was_accepted_is_there_afterwards() -> Result<()> {
    let mut world = World::start().await?;
    let made = world.http.post("/v1/tasks", &a_task()).await?.task();
    world.nats.kill9();
    refused_in_time(&world).await?;
    world.nats.restart().await?;
    world.ready().await?;
    let id = made["id"].as_str().expect("an id");
    let read = world.http.get(&format!("/v1/tasks/{id}")).await?;
    assert_eq!(read.status, 200, "{}", read.error());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_read_but_takes_no_appends_is_not_ready() -> Result<()> {
    let world = World::start().await?;
    assert_eq!(world.http.get("/readyz").await?.status, 200);
    // A stream that is gone does not answer appends, as one that a full disk has stopped.
    let nats = world.log.client();
    nats.request("$JS.API.STREAM.DELETE.TASKS", "".into())
        .await?;
    let refused = world.http.post("/v1/tasks", &a_task()).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let ready = world.http.get("/readyz").await?;
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(
        ready.text().contains("takes no appends"),
        "{}",
        ready.text()
    );
    let serving = world.http.get("/readyz?verbose").await?;
    assert_eq!(serving.status, 503, "{}", serving.text());
    let serving = serving.json();
    assert_eq!(serving["creations"]["code"], "no_appends", "{serving}");
    assert_eq!(serving["revocations"]["ready"], true, "{serving}");
    assert_eq!(serving["problems"][0]["code"], "no_appends", "{serving}");
    world.stop().await
}
