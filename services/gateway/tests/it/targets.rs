//! Health of targets through the API: who may set the rule of a host, and what is refused.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::http::Http;

use crate::world::{World, operator};

async fn put(http: &Http, host: &str, body: &Value) -> Result<waybill_testkit::http::Answer> {
    let path = format!("/v1/targets/{host}/health");
    let headers = [("content-type", "application/json")];
    http.send(Method::PUT, &path, &headers, body.to_string())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_set_told_and_removed() -> Result<()> {
    let world = World::start().await?;
    let rule =
        json!({"failuresInARow": 5, "failureShare": {"percent": 50, "of": 20}, "pause": "1m"});
    let set = put(&world.http, "API.example.com:443", &rule).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let target = set.json()["target"].clone();
    assert_eq!(target["host"], "api.example.com");
    assert_eq!(
        target["rule"],
        json!({"failuresInARow": 5, "failureShare": {"percent": 50, "of": 20}, "pause": 60, "maxPause": 600, "disableAfter": null})
    );
    assert_eq!(target["health"], Value::Null, "no worker runs here");
    let told = world.http.get("/v1/targets/api.example.com/health").await?;
    assert_eq!(told.json()["target"]["rule"], target["rule"]);
    let list = world.http.get("/v1/targets").await?;
    assert_eq!(list.json()["targets"][0]["host"], "api.example.com");

    let other = world
        .http
        .get("/v1/targets/api.example.com:8443/health")
        .await?;
    assert_eq!(other.status, 200, "{}", other.text());
    assert_eq!(other.json()["target"]["rule"], Value::Null);
    let (_, stranger) = world.stranger().await?;
    let strange = stranger.get("/v1/targets/api.example.com/health").await?;
    assert_eq!(strange.json()["target"]["rule"], Value::Null);

    let removed = put(&world.http, "api.example.com", &json!({})).await?;
    assert_eq!(removed.json()["target"]["rule"], Value::Null);
    let list = world.http.get("/v1/targets").await?;
    assert_eq!(list.json()["targets"], json!([]));
    let told = world.http.get("/v1/activity?type=target.").await?;
    let entries = told.json()["activity"].clone();
    let entries = entries.as_array().context("entries")?;
    let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str()).collect();
    assert_eq!(kinds, [Some("target.health_set"); 2]);
    let about = &entries[0]["target"];
    assert_eq!(
        (&about["kind"], &about["id"], &entries[0]["environment"]),
        (&json!("target"), &json!("api.example.com"), &json!("live"))
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_opened_and_closed_by_hand() -> Result<()> {
    let world = World::start().await?;
    let headers = [("content-type", "application/json")];
    let post = |what: &str, body: Value| {
        let path = format!("/v1/targets/api.example.com/{what}");
        let (http, body) = (world.http.clone(), body.to_string());
        async move { http.send(Method::POST, &path, &headers, body).await }
    };
    let why = json!({"reason": "being moved", "until": "2999-01-31T12:00:00Z"});
    let opened = post("open", why).await?;
    assert_eq!(opened.status, 200, "{}", opened.text());
    let target = opened.json()["target"].clone();
    assert_eq!(target["opened"]["reason"], "being moved");
    assert_eq!(target["opened"]["until"], "2999-01-31T12:00:00.000Z");
    assert_eq!(target["rule"], Value::Null);
    let by = target["opened"]["by"].as_str().unwrap_or_default();
    assert!(by.starts_with("key:"), "{by}");
    let list = world.http.get("/v1/targets").await?;
    assert_eq!(list.json()["targets"][0]["opened"], target["opened"]);
    let past = post("open", json!({"until": "1999-01-31T12:00:00Z"})).await?;
    assert_eq!(past.status, 400, "{}", past.text());
    assert_eq!(past.json()["field"], "until");
    let closed = world
        .http
        .send(
            Method::POST,
            "/v1/targets/api.example.com/close",
            &[],
            String::new(),
        )
        .await?;
    assert_eq!(closed.status, 200, "{}", closed.text());
    assert_eq!(closed.json()["target"]["opened"], Value::Null);
    let list = world.http.get("/v1/targets").await?;
    assert_eq!(list.json()["targets"], json!([]));
    let told = world.http.get("/v1/activity?type=target.").await?;
    let entries = told.json()["activity"].clone();
    let entries = entries.as_array().context("entries")?;
    let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str()).collect();
    assert_eq!(kinds, [Some("target.closed"), Some("target.opened")]);
    assert_eq!(entries[1]["target"]["id"], "api.example.com");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_host_or_no_rule_is_refused_by_name() -> Result<()> {
    let world = World::start().await?;
    let rule = json!({"failuresInARow": 5});
    for (host, body, field) in [
        ("user@host", &rule, "host"),
        ("a%2Fb", &rule, "host"),
        ("a..example", &rule, "host"),
        (
            "h.example",
            &json!({"failuresInARow": 5, "disableAfter": "59m"}),
            "disableAfter",
        ),
        ("h.example", &json!({"failuresInARow": 0}), "failuresInARow"),
        ("h.example", &json!({"pause": "1m"}), "failuresInARow"),
        (
            "h.example",
            &json!({"failuresInARow": 5, "pause": "0.5s"}),
            "pause",
        ),
        (
            "h.example",
            &json!({"failuresInARow": 5, "pause": "2d"}),
            "pause",
        ),
        (
            "h.example",
            &json!({"failuresInARow": 5, "pause": "2m", "maxPause": "1m"}),
            "maxPause",
        ),
        (
            "h.example",
            &json!({"failureShare": {"percent": 50, "of": 65}}),
            "failureShare.of",
        ),
        ("h.example", &json!({"failures": 5}), "failures"),
    ] {
        let refused = put(&world.http, host, body).await?;
        assert_eq!(refused.status, 400, "{host} {body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
    }
    let wish = KeyWish {
        environment: Environment::Live,
        ..KeyWish::new("reads", &[Scope::QueuesRead])
    };
    let writer = world.writer();
    let made = writer.make_key(&world.team, wish, &operator()).await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let reads = world.http.with_key(made.key.reveal());
    assert_eq!(put(&reads, "h.example", &rule).await?.status, 403);
    assert_eq!(reads.get("/v1/targets").await?.status, 200);
    world.stop().await
}
