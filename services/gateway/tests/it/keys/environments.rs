//! Live and test: two worlds of one team that know nothing of each other.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{keys_of, listed, make, stored};
use crate::world::{SOON, World, a_task, operator};

async fn key_in(world: &World, environment: Environment) -> Result<(String, Http)> {
    let wish = KeyWish {
        environment,
        ..KeyWish::new("k", Scope::ALL)
    };
    let writer = world.writer();
    let made = writer.make_key(&world.team, wish, &operator()).await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok((
        made.key.id().to_string(),
        world.http.with_key(made.key.reveal()),
    ))
}

async fn ids(http: &Http, path: &str) -> Result<Vec<Value>> {
    let list = http.get(path).await?;
    anyhow::ensure!(list.status == 200, "{}", list.text());
    let tasks = list.json()["tasks"].as_array().cloned().unwrap_or_default();
    Ok(tasks.iter().map(|task| task["id"].clone()).collect())
}

// K12.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_crosses_over() -> Result<()> {
    let world = World::start().await?;
    let (live_id, live) = key_in(&world, Environment::Live).await?;
    let (test_id, test) = key_in(&world, Environment::Test).await?;
    let sides = [
        (&live, &test, &test_id, "live"),
        (&test, &live, &live_id, "test"),
    ];
    for (own, other, other_key, name) in sides {
        let mut body = a_task();
        body["queue"] = json!(format!("of-{name}"));
        let answer = own.post("/v1/tasks", &body).await?;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(
            answer.task()["teamId"],
            json!(world.team),
            "the team is one"
        );
        let id = answer.task()["id"].as_str().expect("an id").to_owned();
        eventually(SOON, async || {
            ids(own, "/v1/tasks")
                .await
                .is_ok_and(|ids| ids.contains(&json!(id)))
        })
        .await?;
        for path in [
            "/v1/tasks".to_owned(),
            format!("/v1/tasks?queue=of-{name}"),
            format!("/v1/tasks?q={id}"),
        ] {
            assert!(!ids(other, &path).await?.contains(&json!(id)), "{path}");
        }
        for (method, path) in [
            (Method::GET, format!("/v1/tasks/{id}")),
            (Method::POST, format!("/v1/tasks/{id}/cancel")),
            (Method::DELETE, format!("/v1/tasks/{id}")),
            (Method::GET, format!("/v1/tasks/{id}/events")),
        ] {
            let answer = other.send(method, &path, &[], "").await?;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        }
        let before = stored(&world).await?;
        for (method, path) in [
            (Method::POST, format!("/apikeys/{other_key}/revoke")),
            (Method::POST, format!("/apikeys/{other_key}/rotate")),
            (Method::DELETE, format!("/v1/api-keys/{other_key}")),
        ] {
            let answer = own.send(method, &path, &[], "").await?;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        }
        assert_eq!(stored(&world).await?, before);
        assert!(listed(own, &world.team, other_key).await.is_err());
        let query = format!("{}?environment={name}", keys_of(&world.team));
        assert_eq!(other.get(&query).await?.json()["apiKeys"], json!([]));
        assert_eq!(own.task(&id).await?["status"], "delayed", "untouched");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotency_keys_and_events_are_of_their_environment() -> Result<()> {
    let world = World::start().await?;
    let (_, live) = key_in(&world, Environment::Live).await?;
    let (_, test) = key_in(&world, Environment::Test).await?;
    let mut seen = live.events("/v1/events", None).await?;
    let mut seen_in_test = test.events("/v1/events", None).await?;
    let create = async |http: &Http| {
        let headers = [("idempotency-key", "order-1")];
        let body = a_task().to_string();
        http.send(Method::POST, "/v1/tasks", &headers, body).await
    };
    let (in_test, in_live) = (create(&test).await?, create(&live).await?);
    for answer in [&in_test, &in_live] {
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    assert_ne!(in_test.task()["id"], in_live.task()["id"]);
    // The first event of each is its own task's: the other's came before or after, and was not shown.
    for (events, answer) in [(&mut seen, &in_live), (&mut seen_in_test, &in_test)] {
        let event = events.next().await?.expect("an event");
        assert_eq!(event.data["taskId"], answer.task()["id"], "{event:?}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_environment_has_the_limits_of_the_plan_for_itself() -> Result<()> {
    let world = World::start().await?;
    let writer = world.writer();
    let team = writer.create_team("limited", "pro", &operator()).await?;
    let live = writer
        .create_key(&team, "k", Scope::ALL, &operator())
        .await?;
    let wish = KeyWish {
        environment: Environment::Test,
        ..KeyWish::new("k", Scope::ALL)
    };
    let test = writer.make_key(&team, wish, &operator()).await?;
    world.gateway.state().auth.wait_for(test.seq).await?;
    let (live, test) = (
        world.http.with_key(live.key.reveal()),
        world.http.with_key(test.key.reveal()),
    );
    let remaining = async |http: &Http| -> Result<(i64, i64)> {
        let answer = http.get("/v1/key").await?;
        let number = |name: &str| answer.header(name).and_then(|text| text.parse().ok());
        Ok((
            number("x-ratelimit-remaining").unwrap_or(-1),
            number("x-ratelimit-reset").unwrap_or(-1),
        ))
    };
    for _ in 0..40 {
        remaining(&live).await?;
    }
    let ((left_live, window), (left_test, same)) =
        (remaining(&live).await?, remaining(&test).await?);
    // At the turn of a minute both begin anew.
    if window == same {
        assert!(
            left_test >= left_live + 30 || left_live > 590,
            "{left_live}, {left_test}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_key_makes_test_keys_only() -> Result<()> {
    let world = World::start().await?;
    let (_, test) = key_in(&world, Environment::Test).await?;
    let made = make(&test, &world.team, &json!({"name": "n"})).await?;
    assert_eq!(made.object["environment"], "test");
    assert!(made.secret().starts_with("wb_test_"));
    let live = json!({"name": "n", "environment": "live"});
    let refused = test.post(&keys_of(&world.team), &live).await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    world.stop().await
}
