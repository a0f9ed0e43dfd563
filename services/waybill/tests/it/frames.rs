//! A log that was written before frames: read, gone on with, and switched once.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::JoinSet;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::http::{Event, Http};
use waybill_testkit::{NatsOptions, NatsServer};

use crate::installation::Installation;
use crate::process::PATIENCE;

/// More than go into one frame of creations.
const TASKS: u64 = 300;

/// Events of a stream until each of these tasks has ended.
async fn until_ended(http: &Http, after: &str, tasks: &HashSet<String>) -> Result<Vec<Event>> {
    let mut events = http
        .events(&format!("/v1/events?after={after}"), None)
        .await?;
    let (mut seen, mut open) = (Vec::new(), tasks.clone());
    while !open.is_empty() {
        let event = events.next().await?.context("an event")?;
        if ["task.succeeded", "task.cancelled", "task.dead"].contains(&event.name.as_str()) {
            open.remove(event.data["taskId"].as_str().unwrap_or_default());
        }
        seen.push(event);
    }
    Ok(seen)
}

fn positions(events: &[Event]) -> Vec<u64> {
    let ids = events.iter().map(|event| event.id.parse());
    ids.map(Result::unwrap_or_default).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_from_before_frames_is_gone_on_with() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    // On a server that is not its own, `waybill up` leaves the format alone.
    let store = installation.data().join("nats");
    fs::create_dir_all(&store)?;
    let mut server = NatsServer::start_in(NatsOptions::default(), Some(store)).await?;
    installation.set("NATS_URL", &server.url());
    let up = installation.up().await?;
    let http = up.http(&key);
    let work = json!({"targetUrl": sink.url("/work"), "onCompleteUrl": sink.url("/done")});
    let mut ended = HashSet::new();
    for _ in 0..20 {
        ended.insert(http.create(&work).await?);
    }
    let promised = http.create_surely("order-17", &work).await?;
    ended.insert(promised.clone());
    let in_an_hour = json!({"targetUrl": sink.url("/later"), "delay": 3_600});
    let delayed = http.create(&in_an_hour).await?;
    let old = until_ended(&http, "0", &ended).await?;
    let refused = installation.run(&["log", "frames"]).await?;
    refused.refused(&["has to be stopped"]);
    up.interrupt().await?.succeeded();

    // Its own server has the same store.
    server.stop().await?;
    installation.unset("NATS_URL");
    let up = installation.up().await?;
    let http = up.http(&key);
    let said = installation.run(&["log", "frames"]).await?.succeeded();
    assert!(said.stdout.contains("already"), "{}", said.stdout);
    assert_eq!(http.create_surely("order-17", &work).await?, promised);
    let cancelled = http
        .post(&format!("/v1/tasks/{delayed}/cancel"), &json!({}))
        .await?;
    assert!(cancelled.status.is_success(), "{}", cancelled.text());
    let mut new: HashSet<String> = [delayed.clone()].into();
    let mut creating = JoinSet::new();
    for _ in 0..TASKS {
        let (http, work) = (http.clone(), work.clone());
        creating.spawn(async move { http.create(&work).await });
    }
    while let Some(created) = creating.join_next().await {
        new.insert(created??);
    }

    // A stream goes on behind each id that was told before, and what was told keeps its id.
    for at in [0, old.len() / 2, old.len() - 1] {
        let seen = until_ended(&http, &old[at].id, &new).await?;
        let again = &seen[..old.len() - 1 - at];
        assert_eq!(again, &old[at + 1..]);
        let ids = positions(&seen);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    }
    for id in &ended {
        assert_eq!(http.task(id).await?["status"], "completed");
    }
    assert_eq!(http.task(&delayed).await?["status"], "cancelled");
    for id in new.iter().filter(|id| **id != delayed) {
        http.completed(id).await?;
    }
    sink.wait_for(2 * (TASKS + ended.len() as u64), PATIENCE)
        .await?;
    up.interrupt().await?.succeeded();

    // The read model made anew from the log says the same.
    installation.run(&["rebuild"]).await?.succeeded();
    let up = installation.up().await?;
    let http = up.http(&key);
    let verified = installation.run(&["verify"]).await?.succeeded();
    assert!(!verified.stdout.is_empty());
    assert_eq!(http.create_surely("order-17", &work).await?, promised);
    for id in new.iter().chain(&ended).filter(|id| **id != delayed) {
        http.completed(id).await?;
    }
    up.interrupt().await?.succeeded();
    Ok(())
}
