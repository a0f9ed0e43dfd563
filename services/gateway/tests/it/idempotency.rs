//! `Idempotency-Key`.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::eventually;

use crate::owner::now;
use crate::world::{SOON, World, a_task};
use waybill_testkit::http::{Answer, Http};

async fn create(http: &Http, key: &str, task: &Value) -> Result<Answer> {
    http.send(
        Method::POST,
        "/v1/tasks",
        &[("idempotency-key", key)],
        task.to_string(),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_is_the_first_task_again() -> Result<()> {
    let world = World::start().await?;
    let first = create(&world.http, "order-17", &a_task()).await?;
    assert_eq!(
        (first.status.as_u16(), first.header("idempotency-replayed")),
        (201, None)
    );
    let again = create(&world.http, "order-17", &a_task()).await?;
    assert_eq!(
        (again.status.as_u16(), again.header("idempotency-replayed")),
        (201, Some("true"))
    );
    assert_eq!(again.task(), first.task());

    let mut other = a_task();
    other["body"] = json!("other");
    let refused = create(&world.http, "order-17", &other).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (422, "idempotency_mismatch".into())
    );

    let (_, stranger) = world.stranger().await?;
    let theirs = create(&stranger, "order-17", &a_task()).await?;
    assert_eq!(
        theirs.header("idempotency-replayed"),
        None,
        "another team's key is another key"
    );
    assert_ne!(theirs.task()["id"], first.task()["id"]);
    for key in ["", &"k".repeat(256), "ümlaut"] {
        let refused = create(&world.http, key, &a_task()).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].clone()),
            (400, json!("Idempotency-Key")),
            "{key}"
        );
    }
    world.stop().await
}

/// A length means another date each time; the request is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_request_again_is_the_first_task_again() -> Result<()> {
    let world = World::start().await?;
    let task = |delay: &str| json!({"targetUrl": "https://example.com/hook", "delay": delay});
    let first = create(&world.http, "order-17", &task("1h")).await?;
    let accepted = now();
    eventually(SOON, async || now() > accepted).await?;
    let again = create(&world.http, "order-17", &task("1h")).await?;
    assert_eq!(again.task(), first.task());
    let refused = create(&world.http, "order-17", &task("2h")).await?;
    assert_eq!(refused.code(), "idempotency_mismatch");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_the_same_time_through_two_gateways_make_one_task() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let second = world.another("second", &stop).await?;
    let other = Http::at(second.addr()).with_key(&world.key);
    for round in 0..5 {
        let key = format!("race-{round}");
        let task = a_task();
        let answers = try_join_all((0..16).map(|n| {
            let http = if n % 2 == 0 { &world.http } else { &other };
            create(http, &key, &task)
        }))
        .await?;
        let first = answers
            .iter()
            .filter(|a| a.header("idempotency-replayed").is_none())
            .count();
        assert_eq!(first, 1, "one of them made it");
        assert!(
            answers
                .iter()
                .all(|a| a.status == 201 && a.task()["id"] == answers[0].task()["id"])
        );
    }
    let last = world.log.bounds(Stream::Tasks).await?.last;
    let stored = world
        .log
        .range(Stream::Tasks, &[], StreamSeq(1), last, 100)
        .await?;
    assert_eq!(stored.len(), 5, "one event for each key");
    stop.cancel();
    second.wait().await?;
    world.stop().await
}

/// The server forgets message ids after two minutes. Here it forgets them sooner, so that only the index knows the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_known_by_the_index_when_the_server_has_forgotten_it() -> Result<()> {
    let world = World::start().await?;
    let js = async_nats::jetstream::new(world.log.client());
    let stream = js.get_stream("TASKS").await?;
    let mut config = stream.cached_info().config.clone();
    let window = std::sync::atomic::AtomicU64::new(100);
    let mut shorten = async || {
        let millis = window.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        config.duplicate_window = Duration::from_millis(millis);
        js.update_stream(&config).await.map(drop)
    };
    shorten().await?;
    let first = create(&world.http, "old", &a_task()).await?;
    let is_new = async |id: &str| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let sent = js
            .publish_with_headers("tasks.0.owner", headers, "".into())
            .await;
        match sent {
            Ok(ack) => ack.await.is_ok_and(|ack| !ack.duplicate),
            Err(_) => false,
        }
    };
    assert!(is_new("probe").await, "it comes after the key");
    // Ids are forgotten in the order they came, by a timer: when the probe is, the key is too. A timer that was set by an earlier window
    // may run for two minutes. Each change of the window sets it anew, so there is one before each look.
    eventually(SOON, async || {
        shorten().await.is_ok() && is_new("probe").await
    })
    .await?;
    let again = create(&world.http, "old", &a_task()).await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.task()["id"], first.task()["id"]);
    world.stop().await
}
