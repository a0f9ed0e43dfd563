//! Being stopped is a path like any other: what is in flight is finished or repeated, never lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http::StatusCode;
use rustix::process::{Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waybill_sink::{Answer, Plan, Sink, SinkOptions};

use crate::installation::Installation;
use crate::process::{PATIENCE, Whom};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_at_sigterm_is_finished_or_repeated() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__WORKER__DRAIN_SECONDS", "3");
    let options = SinkOptions {
        // Only a second attempt is answered.
        script: Some(Arc::new(|received| {
            let hangs = received.path.starts_with("/stuck") && received.attempt == Some(1);
            hangs.then(|| Plan::from(Answer::Hang))
        })),
        ..SinkOptions::default()
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let slow = http
        .create(&json!({"targetUrl": sink.url("/delay/1s/slow")}))
        .await?;
    let stuck = http
        .create(&json!({"targetUrl": sink.url("/stuck/1")}))
        .await?;
    let another = http
        .create(&json!({"targetUrl": sink.url("/stuck/2")}))
        .await?;
    sink.wait_for(3, PATIENCE).await?;
    for id in [&slow, &stuck, &another] {
        http.task_when(id, |task| task["status"] == "processing")
            .await?;
    }

    // Half a request, a subscriber and a waiting read are there when the signal comes.
    let address = up.url.trim_start_matches("http://");
    let body = json!({"targetUrl": sink.url("/drained")}).to_string();
    let mut half = TcpStream::connect(address).await?;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        &body[..5]
    );
    half.write_all(head.as_bytes()).await?;
    let mut events = http.events("/v1/events", None).await?;
    let waiting = tokio::spawn({
        let (http, path) = (http.clone(), format!("/v1/tasks/{stuck}?wait=25"));
        async move { http.get(&path).await }
    });
    // It has been read when a request that came later is answered on a connection of its own.
    http.get("/healthz").await?;
    up.process.signal(Signal::TERM, Whom::Process)?;
    let mut process = up.process;
    process
        .says(|_, stderr| stderr.contains("stopping").then_some(()))
        .await?;
    half.write_all(&body.as_bytes()[5..]).await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, half.read_to_string(&mut answer)).await??;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let drained = answer
        .split("\"id\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .context("an id")?
        .to_owned();
    while let Ok(Some(_)) = events.next().await {}
    let waited = waiting.await?;
    assert!(waited.is_ok_and(|answer| answer.status == 200 || answer.status == 503));
    let ended = process.ended().await?.succeeded();
    // The worker gives calls in flight three seconds.
    assert!(ended.took < Duration::from_secs(9), "{:?}", ended.took);

    let up = installation.up().await?;
    let http = up.http(&key);
    let slow = http.completed(&slow).await?;
    assert_eq!(
        slow["attempts"].as_array().map(Vec::len),
        Some(1),
        "finished, not repeated: {slow}"
    );
    for id in [&stuck, &another] {
        let task = http.completed(id).await?;
        let attempts = task["attempts"].as_array().context("attempts")?;
        assert_eq!(attempts.len(), 2, "recorded and repeated: {task}");
        let said = attempts[0]["error"].as_str().unwrap_or_default();
        assert!(said.contains("worker was stopped"), "{task}");
        assert_eq!(task["retryCount"], 0, "no retry is used up: {task}");
    }
    http.completed(&drained).await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__WORKER__DRAIN_SECONDS", "600");
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let mut up = installation.up().await?;
    let http = up.http(&key);
    http.create(&json!({"targetUrl": sink.url("/hang")}))
        .await?;
    sink.wait_for(1, PATIENCE).await?;
    up.process.signal(Signal::INT, Whom::Group)?;
    up.process
        .says(|_, stderr| stderr.contains("stopping").then_some(()))
        .await?;
    let server = installation.nats_pid().context("a nats-server")?;
    // Two at once are one wish, as a supervisor sends them that signals a process and then its group.
    up.process.signal(Signal::INT, Whom::Group)?;
    let ended = up
        .process
        .end_by_insisting(Signal::INT, Whom::Group)
        .await?;
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(ended.took < Duration::from_secs(2), "{ended:?}");
    waybill_testkit::eventually(PATIENCE, async || !crate::installation::runs(server)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_stopped_while_it_starts() -> Result<()> {
    let mut installation = Installation::new()?;
    // Nobody listens there: it waits for a server.
    installation.set("NATS_URL", "nats://127.0.0.1:1");
    installation.set("WAYBILL__NATS__CONNECT_TIMEOUT_MS", "600000");
    let process = installation.start(&["up", "--listen", "127.0.0.1:0"])?;
    let data = installation.data();
    // The handlers of signals are there before the folder is.
    waybill_testkit::eventually(PATIENCE, async || data.join("waybill.lock").exists()).await?;
    let ended = process.end(Signal::INT, Whom::Group).await?.succeeded();
    assert!(ended.took < Duration::from_secs(3), "{ended:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_hangs_is_said_and_does_not_hold_up_the_end() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__NATS__REQUEST_TIMEOUT_MS", "1500");
    let up = installation.up().await?;
    let http = up.http(&key);
    let health = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let before = http.create(&health).await?;
    http.completed(&before).await?;
    let server = installation.nats_pid().context("a nats-server")?;
    kill_process(server, Signal::STOP)?;
    let refused = http.post("/v1/tasks", &health).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    http.until("/readyz", StatusCode::SERVICE_UNAVAILABLE)
        .await?;

    kill_process(server, Signal::CONT)?;
    http.until("/readyz", StatusCode::OK).await?;
    let after = http.create_surely("after", &health).await?;
    http.completed(&after).await?;

    kill_process(server, Signal::STOP)?;
    let ended = up.interrupt().await?.succeeded();
    // Each role gives up at its own time limit, then the server is killed.
    assert!(ended.took < Duration::from_secs(18), "{ended:?}");
    assert!(!crate::installation::runs(server));
    let up = installation.up().await?;
    up.http(&key).completed(&after).await?;
    up.interrupt().await?.succeeded();
    Ok(())
}
