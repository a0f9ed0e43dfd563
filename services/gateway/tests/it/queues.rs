//! Queues through the API: pauses and limits, who may decide them, and what is refused.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::http::Http;

use crate::world::{World, a_task_for_now, operator};

/// A key of the team with these scopes.
async fn with_scopes(world: &World, environment: Environment, scopes: &[Scope]) -> Result<Http> {
    let wish = KeyWish {
        environment,
        ..KeyWish::new("queues", scopes)
    };
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok(world.http.with_key(made.key.reveal()))
}

async fn queue(http: &Http, name: &str) -> Result<Value> {
    let answer = http.get(&format!("/v1/queues/{name}")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()["queue"].clone())
}

async fn listed(http: &Http) -> Result<Vec<Value>> {
    let answer = http.get("/v1/queues").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let queues = answer.json()["queues"].clone();
    Ok(queues.as_array().context("a list")?.clone())
}

async fn bare(http: &Http, path: &str) -> Result<Value> {
    let answer = http.send(Method::POST, path, &[], "").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()["queue"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_told_and_resumed() -> Result<()> {
    let world = World::start().await?;
    let missing = world.http.get("/v1/queues/default").await?;
    assert_eq!(missing.status, 404, "{}", missing.text());
    world.http.create(&a_task_for_now()).await?;
    let active = queue(&world.http, "default").await?;
    assert_eq!(active["state"], "active");
    assert_eq!(active["pause"], Value::Null);
    assert_eq!(active["counts"]["pending"], 1);

    let request = json!({"reason": "moving", "until": "2099-01-31T12:00:00+01:00"});
    let paused = world
        .http
        .post("/v1/queues/default/pause", &request)
        .await?;
    assert_eq!(paused.status, 200, "{}", paused.text());
    let paused = paused.json()["queue"].clone();
    assert_eq!(paused["state"], "paused");
    assert_eq!(paused["pause"]["reason"], "moving");
    assert_eq!(paused["pause"]["until"], "2099-01-31T11:00:00.000Z");
    let by = paused["pause"]["by"].as_str().context("by")?;
    assert!(by.starts_with("key:"), "{by}");
    let again = world
        .http
        .post("/v1/queues/default/pause", &request)
        .await?;
    assert_eq!(again.json()["queue"], paused, "nothing changed");
    let told = queue(&world.http, "default").await?;
    assert_eq!(told["pause"], paused["pause"]);
    assert_eq!(told["counts"]["pending"], 1);

    // A pause without a body has neither a reason nor an end.
    let anew = bare(&world.http, "/v1/queues/default/pause").await?;
    assert_eq!(anew["pause"]["reason"], Value::Null);
    assert_eq!(anew["pause"]["until"], Value::Null);
    assert_eq!(anew["pause"]["since"], paused["pause"]["since"]);
    // A queue may be paused before it has a task.
    bare(&world.http, "/v1/queues/a-new-one/pause").await?;
    let list = listed(&world.http).await?;
    let shown: Vec<_> = list
        .iter()
        .map(|queue| (queue["name"].as_str(), queue["state"].as_str()))
        .collect();
    let paused = Some("paused");
    assert_eq!(
        shown,
        [(Some("a-new-one"), paused), (Some("default"), paused)]
    );

    let resumed = bare(&world.http, "/v1/queues/default/resume").await?;
    assert_eq!(
        (&resumed["state"], &resumed["pause"]),
        (&json!("active"), &Value::Null)
    );
    bare(&world.http, "/v1/queues/default/resume").await?;
    bare(&world.http, "/v1/queues/a-new-one/resume").await?;
    assert_eq!(listed(&world.http).await?.len(), 1);

    let told = world.http.get("/v1/activity?type=queue.").await?;
    assert_eq!(told.status, 200, "{}", told.text());
    let entries = told.json()["activity"].clone();
    let entries = entries.as_array().context("entries")?;
    let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str()).collect();
    let (pause, resume) = (Some("queue.paused"), Some("queue.resumed"));
    assert_eq!(kinds, [resume, resume, pause, pause, pause]);
    let target = &entries[1]["target"];
    assert_eq!(
        (&target["kind"], &target["id"]),
        (&json!("queue"), &json!("default"))
    );
    assert_eq!(entries[1]["environment"], "live");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_replace_each_other_and_another_gateway_knows_them() -> Result<()> {
    let world = World::start().await?;
    let limits =
        json!({"concurrency": 5, "rate": {"limit": 100, "per": "1m", "burst": 10}, "weight": 3});
    let limits = limits.to_string();
    let json_body = [("content-type", "application/json")];
    let put = async |body: &str| -> Result<_> {
        world
            .http
            .send(Method::PUT, "/v1/queues/mail", &json_body, body.to_owned())
            .await
    };
    let set = put(&limits).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let set = set.json()["queue"].clone();
    assert_eq!(set["concurrency"], 5);
    assert_eq!(set["weight"], 3);
    assert_eq!(set["rate"], json!({"limit": 100, "per": 60, "burst": 10}));
    bare(&world.http, "/v1/queues/mail/pause").await?;
    let stop = CancellationToken::new();
    let another = world.another("another", &stop).await?;
    let elsewhere = Http::at(another.addr()).with_key(&world.key);
    let told = queue(&elsewhere, "mail").await?;
    assert_eq!(
        (&told["concurrency"], &told["rate"], &told["weight"]),
        (&set["concurrency"], &set["rate"], &set["weight"])
    );
    assert_eq!(told["state"], "paused", "limits leave the pause as it is");
    let without = put("{}").await?.json()["queue"].clone();
    assert_eq!(
        (&without["concurrency"], &without["rate"], &without["state"]),
        (&Value::Null, &Value::Null, &json!("paused"))
    );
    for (body, field, text) in [
        (
            r#"{"concurrency": 0}"#,
            "concurrency",
            "between 1 and 1000000",
        ),
        (r#"{"concurrency": -1}"#, "concurrency", "concurrency"),
        (r#"{"rate": {"per": "1m"}}"#, "rate.limit", "required"),
        (r#"{"rate": {"limit": 1}}"#, "rate.per", "required"),
        (
            r#"{"rate": {"limit": 1, "per": "2d"}}"#,
            "rate.per",
            "rate.per",
        ),
        (
            r#"{"rate": {"limit": 1, "per": 0.5}}"#,
            "rate.per",
            "between 1s and 24h",
        ),
        (r#"{"concurency": 3}"#, "concurency", "concurency"),
        (r#"{"weight": 0}"#, "weight", "between 1 and 100"),
        (r#"{"weight": 101}"#, "weight", "between 1 and 100"),
    ] {
        let refused = put(body).await?;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
        let error = refused.error();
        assert!(error.contains(text), "{error}");
    }
    stop.cancel();
    another.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_decides_in_the_own_environment_and_team() -> Result<()> {
    let world = World::start().await?;
    let live = Environment::Live;
    let reads = with_scopes(&world, live, &[Scope::QueuesRead, Scope::TasksWrite]).await?;
    let writes = with_scopes(&world, live, &[Scope::QueuesWrite]).await?;
    let test = [Scope::QueuesRead, Scope::QueuesWrite];
    let test = with_scopes(&world, Environment::Test, &test).await?;
    bare(&writes, "/v1/queues/mail/pause").await?;
    assert_eq!(writes.get("/v1/queues/mail").await?.status, 403);
    assert_eq!(writes.get("/v1/queues").await?.status, 403);
    assert_eq!(queue(&reads, "mail").await?["state"], "paused");
    for path in ["/v1/queues/mail/resume", "/v1/queues/mail/pause"] {
        let refused = reads.send(Method::POST, path, &[], "").await?;
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(
            refused.error().contains("queues:write"),
            "{}",
            refused.error()
        );
    }
    assert_eq!(
        reads
            .send(Method::PUT, "/v1/queues/mail", &[], "{}")
            .await?
            .status,
        403
    );

    // The queue of that name in the other environment, or of another team, is another one.
    let (_, stranger) = world.stranger().await?;
    for other in [&test, &stranger] {
        assert_eq!(other.get("/v1/queues/mail").await?.status, 404);
        bare(other, "/v1/queues/mail/resume").await?;
    }
    assert_eq!(queue(&reads, "mail").await?["state"], "paused");
    for (path, body, field) in [
        ("/v1/queues/a.b/pause", "", "name"),
        ("/v1/queues/mail/pause", r#"{"until": "soon"}"#, "until"),
        (
            "/v1/queues/mail/pause",
            r#"{"until": "2020-01-01T00:00:00Z"}"#,
            "until",
        ),
        ("/v1/queues/mail/pause", r#"{"untill": null}"#, "untill"),
        (
            "/v1/queues/mail/pause",
            r#"{"reason": "a\u202eb"}"#,
            "reason",
        ),
    ] {
        let refused = writes.send(Method::POST, path, &[], body).await?;
        assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
    }
    world.stop().await
}
