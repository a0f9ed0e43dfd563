//! When keys were last used, from where and how often: told by all gateways, and no event.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_domain::id::Environment;
use waybill_edge::usage::team_totals;
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{listed, make, stored};
use crate::world::{SOON, World, config, parts};

const REQUESTS: usize = 10_000;
const FLUSH: Duration = Duration::from_millis(300);

fn flushing(interval: Duration) -> GatewayConfig {
    GatewayConfig {
        usage_flush: interval,
        ..config()
    }
}

async fn another(
    world: &World,
    name: &str,
    interval: Duration,
    stop: &CancellationToken,
) -> Result<Gateway> {
    let parts = parts(&world.log, &world.folder, name);
    let gateway = Gateway::start(flushing(interval), parts, stop.clone()).await?;
    let http = Http::at(gateway.addr());
    http.until("/readyz", http::StatusCode::OK).await?;
    Ok(gateway)
}

// K30.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_on_three_gateways_are_ten_thousand_uses_and_no_event() -> Result<()>
{
    let world = World::start_with(flushing(FLUSH)).await?;
    let stop = CancellationToken::new();
    let (second, third) = (
        another(&world, "g2", FLUSH, &stop).await?,
        another(&world, "g3", FLUSH, &stop).await?,
    );
    let key = make(&world.http, &world.team, &json!({"name": "busy"})).await?;
    let before = stored(&world).await?;
    let clients = [
        key.http.clone(),
        Http::at(second.addr()).with_key(key.secret()),
        Http::at(third.addr()).with_key(key.secret()),
    ];
    let asked = crate::owner::now();
    let requests = futures::stream::iter(0..REQUESTS).map(|n| {
        let client = &clients[n % 3];
        // Whether it may or not, it was used.
        client.send(Method::GET, "/v1/tasks/task_0", &[], "")
    });
    let answers: Vec<_> = requests.buffer_unordered(16).collect().await;
    assert!(answers.iter().all(|answer| {
        answer
            .as_ref()
            .is_ok_and(|answer| !answer.status.is_server_error())
    }));
    let look = async || listed(&world.http, &world.team, key.id()).await;
    eventually(SOON, async || {
        look()
            .await
            .is_ok_and(|key| key["useCount"] == json!(REQUESTS))
    })
    .await?;
    let shown = look().await?;
    assert_eq!(shown["useCount"], json!(REQUESTS), "and not one more");
    assert_eq!(shown["lastUsedFrom"], "127.0.0.1");
    let at = waybill_domain::time::Timestamp::parse_rfc3339(
        shown["lastUsedAt"].as_str().expect("a time"),
    );
    assert!(at.expect("a time") >= asked);
    assert_eq!(stored(&world).await?, before, "no use is an event");
    let own = key.http.get("/v1/key").await?.json();
    assert_eq!(own["apiKey"]["useCount"], json!(REQUESTS));

    let totals = team_totals(world.gateway.state(), &world.team).await?;
    let of_key = totals
        .keys
        .iter()
        .find(|used| used.key.as_str() == key.id());
    assert!(of_key.is_some_and(|used| used.count >= REQUESTS as u64));
    let days: u64 = totals.days.iter().map(|(_, count)| count).sum();
    let months: u64 = totals.months.iter().map(|(_, count)| count).sum();
    assert!(days >= REQUESTS as u64 && months == days, "{totals:?}");
    let today = crate::owner::now().to_rfc3339();
    assert_eq!(totals.days.last().map(|(day, _)| &**day), today.get(..10));
    let test = world.team.in_environment(Environment::Test);
    let totals = team_totals(world.gateway.state(), &test).await?;
    assert!(
        totals.days.is_empty() && totals.keys.is_empty(),
        "{totals:?}"
    );
    stop.cancel();
    second.wait().await?;
    third.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_tells_what_it_has_seen() -> Result<()> {
    let world = World::start_with(flushing(FLUSH)).await?;
    let stop = CancellationToken::new();
    let seldom = another(&world, "g2", Duration::from_secs(3_600), &stop).await?;
    let key = make(&world.http, &world.team, &json!({"name": "k"})).await?;
    let there = Http::at(seldom.addr()).with_key(key.secret());
    there.until("/v1/key", http::StatusCode::OK).await?;
    let shown = listed(&world.http, &world.team, key.id()).await?;
    assert_eq!(
        (&shown["useCount"], &shown["lastUsedAt"]),
        (&json!(0), &Value::Null)
    );
    stop.cancel();
    seldom.wait().await?;
    let shown = listed(&world.http, &world.team, key.id()).await?;
    assert!(shown["useCount"].as_u64() >= Some(1), "{shown}");
    assert_eq!(shown["lastUsedFrom"], "127.0.0.1");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_wider_than_used_is_told_of_by_scope_and_by_route() -> Result<()> {
    let world = World::start_with(flushing(FLUSH)).await?;
    let wide = json!({"name": "wide", "scopes": ["tasks:read", "queues:read", "tasks:write"]});
    let key = make(&world.http, &world.team, &wide).await?;
    let path = format!("/apikeys/{}/usage", key.id());
    let fresh = world.http.get(&path).await?.json()["usage"].clone();
    let all = json!(["tasks:read", "tasks:write", "queues:read"]);
    assert_eq!(fresh["unusedScopes"], all, "{fresh}");
    assert_eq!((&fresh["days"], &fresh["routes"]), (&json!(30), &json!([])));

    for _ in 0..3 {
        key.http.get("/v1/tasks").await?;
    }
    // Refused for want of a scope, which is no use of one.
    let refused = key.http.get("/v1/activity").await?;
    assert_eq!(refused.code(), "insufficient_scope");
    let look = async || {
        let answer = world.http.get(&path).await?;
        anyhow::Ok(answer.json()["usage"].clone())
    };
    eventually(SOON, async || {
        look().await.is_ok_and(|usage| {
            usage["scopes"][0]["requests"] == 3 && usage["routes"][1] != Value::Null
        })
    })
    .await?;
    let usage = look().await?;
    assert_eq!(usage["scopes"][0]["scope"], "tasks:read", "{usage}");
    assert!(usage["scopes"][0]["lastUsedAt"].is_string(), "{usage}");
    assert_eq!(usage["scopes"][1]["lastUsedAt"], Value::Null, "{usage}");
    assert_eq!(
        usage["unusedScopes"],
        json!(["tasks:write", "queues:read"]),
        "{usage}"
    );
    let route = |n: usize| {
        let route = &usage["routes"][n];
        (
            route["route"].clone(),
            route["status"].clone(),
            route["requests"].clone(),
        )
    };
    assert_eq!(route(0), (json!("/v1/tasks"), json!("2xx"), json!(3)));
    assert_eq!(route(1), (json!("/v1/activity"), json!("4xx"), json!(1)));
    // All of them are of today, or of two days around midnight.
    let by_day = usage["byDay"].as_array().cloned().unwrap_or_default();
    let of_days = by_day.iter().filter_map(|day| day["requests"].as_u64());
    assert_eq!(of_days.sum::<u64>(), 4, "{usage}");

    for (query, field) in [
        ("days=0", "days"),
        ("days=366", "days"),
        ("weeks=1", "weeks"),
    ] {
        let refused = world.http.get(&format!("{path}?{query}")).await?;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["field"]),
            (400, &json!(field))
        );
    }
    let own = key.http.get(&path).await?;
    assert_eq!(own.code(), "insufficient_scope");
    let absent = world.http.get("/apikeys/key_absent00/usage").await?;
    assert_eq!(absent.status, 404, "{}", absent.text());
    world.stop().await
}
