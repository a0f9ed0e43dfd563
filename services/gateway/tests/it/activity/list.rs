//! Who did what, from where, in pages.

use anyhow::{Context, Result};
use http::Method;
use serde_json::Value;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_edge::refusals::RefusalTimes;
use waybill_gateway::GatewayConfig;
use waybill_testkit::eventually;

use super::{entries, key, kinds, place};
use crate::world::{SOON, World, a_task, config};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_does_is_told_with_its_name_its_source_and_the_request() -> Result<()> {
    let world = World::start().await?;
    let scopes = [Scope::TasksWrite, Scope::TasksRead, Scope::ActivityRead];
    let (id, http) = key(&world, "nightly deploy", &scopes, Environment::Live).await?;
    let agent = [
        ("user-agent", "crane/1.0"),
        ("content-type", "application/json"),
    ];
    let made = http
        .send(Method::POST, "/v1/tasks", &agent, a_task().to_string())
        .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let task = made.task()["id"].as_str().context("an id")?.to_owned();
    let cancelled = http
        .send(Method::DELETE, &format!("/v1/tasks/{task}"), &agent, "")
        .await?;
    let requests = [&made, &cancelled].map(|answer| answer.header("x-request-id"));
    let told = entries(&http, &format!("actor={id}")).await?;
    // Tasks are cancelled by their owner, of which there is none here.
    assert!(!told.is_empty());
    for (entry, request) in told.iter().zip(requests) {
        assert_eq!(entry["actor"], format!("key:{id}"));
        assert_eq!(entry["actorName"], "nightly deploy");
        assert_eq!(entry["source"], "127.0.0.1");
        assert_eq!(entry["requestId"].as_str(), request);
        assert_eq!(entry["userAgent"], "crane/1.0");
        assert_eq!(entry["outcome"], "ok");
        assert_eq!(entry["environment"], "live");
        assert_eq!(entry["target"]["kind"], "task");
        assert_eq!(entry["target"]["id"], task.as_str());
        assert_eq!(entry["taskId"], task.as_str());
    }
    let about = entries(&http, &format!("target={id}")).await?;
    assert_eq!(kinds(&about), ["key.created"]);
    assert_eq!(about[0]["target"]["name"], "nightly deploy");
    assert_eq!(about[0]["keyId"], id.as_str());

    let own = http.send(Method::POST, "/v1/key/revoke", &[], "").await?;
    assert_eq!(own.status, 200, "{}", own.text());
    let last = entries(&world.http, &format!("target={id}&type=key.revoked")).await?;
    assert_eq!(kinds(&last), ["key.revoked"]);
    assert_eq!(last[0]["actorName"], "nightly deploy");
    assert_eq!(last[0]["requestId"].as_str(), own.header("x-request-id"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_shows_what_matches_and_nothing_else() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        refusals: RefusalTimes::default(),
        ..config()
    })
    .await?;
    let scopes = [Scope::TasksRead, Scope::ActivityRead];
    let (id, reader) = key(&world, "reader", &scopes, Environment::Live).await?;
    let first = world.http.create(&a_task()).await?;
    world.http.create(&a_task()).await?;
    let refused = reader.post("/v1/tasks", &a_task()).await?;
    assert_eq!(refused.status, 403);
    eventually(SOON, async || {
        let told = entries(&reader, "outcome=refused").await;
        told.is_ok_and(|told| told.len() == 1)
    })
    .await?;
    let told = entries(&reader, "outcome=refused").await?;
    assert_eq!(told[0]["type"], "access.refused");
    assert_eq!(told[0]["actor"], format!("key:{id}"));
    assert_eq!(told[0]["actorName"], "reader");
    assert_eq!(told[0]["target"]["kind"], "route");
    assert_eq!(told[0]["refusal"]["code"], "insufficient_scope");
    assert_eq!(told[0]["refusal"]["count"], 1);
    let all = entries(&reader, "limit=100").await?;
    type Wanted<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let is = |field: &'static str, value: String| -> Wanted<'_> {
        Box::new(move |entry| entry[field].as_str() == Some(&*value))
    };
    let middle = all[all.len() / 2]["at"]
        .as_str()
        .context("a time")?
        .to_owned();
    let (later, earlier) = (middle.clone(), middle.clone());
    let cases: [(String, Wanted<'_>); 9] = [
        (format!("actor=key:{id}"), is("actor", format!("key:{id}"))),
        (format!("actor={id}"), is("actor", format!("key:{id}"))),
        ("stream=tasks".into(), is("stream", "tasks".into())),
        ("type=key.".into(), is("type", "key.created".into())),
        (format!("taskId={first}"), is("taskId", first.clone())),
        (
            format!("target={first}"),
            Box::new(|entry| entry["target"]["id"] == first.as_str()),
        ),
        (
            "source=::ffff:127.0.0.1".into(),
            is("source", "127.0.0.1".into()),
        ),
        (
            format!("after={middle}"),
            Box::new(move |entry| entry["at"].as_str() >= Some(&*later)),
        ),
        (
            format!("before={middle}"),
            Box::new(move |entry| entry["at"].as_str() < Some(&*earlier)),
        ),
    ];
    for (query, wanted) in &cases {
        let shown = entries(&reader, &format!("limit=100&{query}")).await?;
        let right: Vec<_> = all.iter().filter(|entry| wanted(entry)).collect();
        assert_eq!(shown.iter().collect::<Vec<_>>(), right, "{query}");
    }
    for (query, field) in [
        ("actor=nobody", "actor"),
        ("actor=key:x", "actor"),
        ("source=home", "source"),
        ("outcome=maybe", "outcome"),
        ("stream=x", "stream"),
        ("before=x", "before"),
        ("limit=101", "limit"),
        ("colour=red", "colour"),
        ("type=a&type=b", "type"),
    ] {
        let answer = reader.get(&format!("/v1/activity?{query}")).await?;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_no_gap_and_no_repeat_while_more_happens() -> Result<()> {
    let world = World::start().await?;
    for _ in 0..10 {
        world.http.create(&a_task()).await?;
    }
    let before: Vec<_> = entries(&world.http, "limit=100").await?;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .http
            .get(&format!("/v1/activity?limit=3{cursor}"))
            .await?
            .json();
        seen.extend(page["activity"].as_array().context("a list")?.clone());
        world.http.create(&a_task()).await?;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.reverse();
    let places = |entries: &[Value]| entries.iter().map(place).collect::<Vec<_>>();
    assert_eq!(places(&seen), places(&before));
    world.stop().await
}
