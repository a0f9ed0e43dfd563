//! Refused attempts in the activity of a team: there, and bounded.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use waybill_domain::access::scope::Scope;
use waybill_domain::event::{AccessRefused, ControlEvent};
use waybill_edge::refusals::RefusalTimes;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::people::{Person, world_with};
use crate::world::{SOON, World, a_task, operator};

async fn told(log: &impl Log) -> Result<Vec<AccessRefused>> {
    let filter = ["control._.refused.*".to_owned()];
    let records = log
        .range(
            Stream::Control,
            &filter,
            StreamSeq(1),
            StreamSeq(u64::MAX),
            1000,
        )
        .await?;
    let mut told = Vec::new();
    for record in records {
        if let ControlEvent::AccessRefused(event) =
            ControlEvent::decode(&record.event, &record.payload)?
        {
            told.push(event);
        }
    }
    Ok(told)
}

async fn narrow(world: &World, name: &str) -> Result<(String, Http)> {
    let scopes = [Scope::TasksRead, Scope::ActivityRead];
    let writer = world.writer();
    let made = writer
        .create_key(&world.team, name, &scopes, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let http = world.http.with_key(made.key.reveal());
    Ok((made.key.id().to_string(), http))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_attempts_is_a_few_lines_of_activity() -> Result<()> {
    let times = RefusalTimes {
        pause: Duration::from_millis(50),
        per_minute: 12,
    };
    let (world, _) = world_with(|config| config.refusals = times).await?;
    let (key, reader) = narrow(&world, "reader").await?;
    let flood = 300;
    for _ in 0..flood {
        assert_eq!(reader.post("/v1/tasks", &a_task()).await?.status, 403);
    }
    let mut keys = Vec::new();
    for n in 0..40 {
        keys.push(narrow(&world, &format!("k{n}")).await?.1);
    }
    for http in &keys {
        assert_eq!(http.post("/v1/tasks", &a_task()).await?.status, 403);
    }
    eventually(SOON, async || {
        told(&world.log).await.is_ok_and(|told| told.len() >= 6)
    })
    .await?;
    let told = told(&world.log).await?;
    // Half of the minute's at once, and what has come since.
    assert!(told.len() <= 12, "{} events", told.len());
    let of_reader: Vec<_> = told
        .iter()
        .filter(|event| event.credential.as_deref() == Some(&format!("key:{key}")))
        .collect();
    assert!(!of_reader.is_empty());
    for event in &of_reader {
        assert_eq!(
            (
                event.code.as_str(),
                event.route.as_str(),
                event.source.as_str()
            ),
            ("insufficient_scope", "POST /v1/tasks", "127.0.0.1")
        );
        assert_eq!(event.team.as_ref(), Some(&world.team));
    }
    let path = format!("/v1/activity?type=access.refused&actor=key:{key}");
    let activity = world.http.get(&path).await?.json();
    let entries = activity["activity"].as_array().map_or(0, Vec::len);
    assert_eq!(entries, of_reader.len(), "{activity}");
    assert_eq!(activity["activity"][0]["actorName"], "reader");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_last_is_told_when_the_gateway_stops() -> Result<()> {
    let times = RefusalTimes {
        pause: Duration::from_secs(3_600),
        per_minute: 60,
    };
    let (world, _) = world_with(|config| config.refusals = times).await?;
    let (_, reader) = narrow(&world, "reader").await?;
    let (stranger, by_key) = world.stranger().await?;
    let eve = Person::signed_in(&world, "eve").await?;
    for _ in 0..7 {
        assert_eq!(reader.post("/v1/tasks", &a_task()).await?.status, 403);
    }
    // Another team's credential on ours is that team's business; a person who belongs to none knocks at ours.
    let keys = format!("/teams/{}/apikeys", world.team);
    assert_eq!(by_key.post(&keys, &json!({"name": "x"})).await?.status, 403);
    let team = format!("/teams/{}", world.team);
    assert_eq!(eve.http.get(&team).await?.status, 403);
    // Neither a key that is none nor one that is of nobody is anybody's.
    let nobody = world.http.with_key("wb_live_x");
    assert_eq!(nobody.get("/v1/tasks").await?.status, 401);
    // A key that was ours is.
    let (ended, revoked) = narrow(&world, "revoked").await?;
    let path = format!("/apikeys/{ended}/revoke");
    assert_eq!(world.http.post(&path, &json!({})).await?.status, 200);
    assert_eq!(revoked.get("/v1/tasks").await?.status, 401);
    assert!(told(&world.log).await?.is_empty());

    let World {
        nats: _nats,
        log,
        gateway,
        shutdown,
        projector,
        team,
        folder: _folder,
        ..
    } = world;
    shutdown.cancel();
    gateway.wait().await?;
    let mut seen: Vec<_> = told(&log)
        .await?
        .into_iter()
        .map(|event| (event.code, event.team, event.count))
        .collect();
    seen.sort();
    let (ours, theirs) = (Some(team), Some(stranger));
    let mut wanted = vec![
        ("access_denied".to_owned(), theirs, 1),
        ("access_denied".to_owned(), ours.clone(), 1),
        ("insufficient_scope".to_owned(), ours.clone(), 7),
        ("unauthorized".to_owned(), ours, 1),
    ];
    wanted.sort();
    assert_eq!(seen, wanted);
    projector.shutdown().await?;
    Ok(())
}
