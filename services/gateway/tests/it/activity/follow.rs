//! The stream of activity: what the list shows, as it happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::http::{Events, Http};

use super::{entries, key, place};
use crate::world::{World, a_task, operator};

const STREAM: &str = "/v1/activity/stream";

/// So many entries, and the id of the last one.
async fn told(events: &mut Events, count: usize) -> Result<(Vec<Value>, String)> {
    let (mut told, mut last) = (Vec::new(), String::new());
    while told.len() < count {
        let event = events.next().await?.context("another event")?;
        assert_eq!(event.data["type"], event.name.as_str());
        last = event.id;
        told.push(event.data);
    }
    Ok((told, last))
}

fn sorted(mut entries: Vec<Value>) -> Vec<Value> {
    entries.sort_by_key(place);
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_followed_is_what_is_listed_whichever_gateway_is_asked() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let other = world.another("other", &stop).await?;
    let there = Http::at(other.addr()).with_key(&world.key);
    let mut live = world.http.events(STREAM, None).await?;
    world.http.create(&a_task()).await?;
    key(&world, "one", &[Scope::TasksRead], Environment::Live).await?;
    let (mut seen, last) = told(&mut live, 2).await?;
    drop(live);
    // While nobody follows.
    for _ in 0..3 {
        world.http.create(&a_task()).await?;
    }
    key(&world, "two", &[Scope::TasksRead], Environment::Live).await?;
    let mut resumed = there.events(STREAM, Some(&last)).await?;
    let (more, _) = told(&mut resumed, 4).await?;
    seen.extend(more);
    world.http.create(&a_task()).await?;
    let (more, end) = told(&mut resumed, 1).await?;
    seen.extend(more);
    let listed = entries(&world.http, "limit=100").await?;
    let of_bootstrap = 2;
    assert_eq!(sorted(seen), sorted(listed.clone())[of_bootstrap..]);

    let mut all = there.events(&format!("{STREAM}?after=0-0"), None).await?;
    let (all, _) = told(&mut all, listed.len()).await?;
    assert_eq!(sorted(all), sorted(listed));
    let mut filtered = there
        .events(&format!("{STREAM}?after=0-0&type=key."), None)
        .await?;
    let (keys, _) = told(&mut filtered, 3).await?;
    assert!(keys.iter().all(|entry| entry["type"] == "key.created"));

    for query in [
        "after=x",
        "after=1",
        "after=999999-0",
        "before=1",
        "limit=5",
    ] {
        let refused = there.get(&format!("{STREAM}?{query}")).await?;
        assert_eq!(refused.status, 400, "{query}");
    }
    assert!(end.contains('-'));
    drop((resumed, filtered));
    stop.cancel();
    other.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_credential() -> Result<()> {
    let world = World::start().await?;
    let (id, http) = key(&world, "spy", &[Scope::ActivityRead], Environment::Live).await?;
    let mut events = http.events(STREAM, None).await?;
    world.http.create(&a_task()).await?;
    told(&mut events, 1).await?;
    let revoked = world
        .writer()
        .revoke_key(&world.team, &id, &operator())
        .await?;
    world.gateway.state().auth.wait_for(revoked.seq).await?;
    let since = Instant::now();
    world.http.create(&a_task()).await?;
    assert_eq!(events.next().await?, None, "nothing after the revocation");
    // Generous: the machine is shared. The check itself runs twice a second.
    assert!(since.elapsed() < Duration::from_secs(5));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_environment_follows_its_own() -> Result<()> {
    let world = World::start().await?;
    let (id, test) = key(&world, "test", Scope::ALL, Environment::Test).await?;
    let mut events = test.events(STREAM, None).await?;
    world.http.create(&a_task()).await?;
    key(&world, "live", &[Scope::TasksRead], Environment::Live).await?;
    let task = test.create(&a_task()).await?;
    let (told, _) = told(&mut events, 1).await?;
    assert_eq!(told[0]["taskId"], task.as_str());
    assert_eq!(told[0]["actor"], format!("key:{id}"));
    assert_eq!(told[0]["environment"], "test");
    world.stop().await
}
