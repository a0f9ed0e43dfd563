//! Ended tasks that are done again.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_domain::id::TaskId;

use crate::owner;
use crate::world::{World, a_task_for_now};

/// Creates a task, and lets its only attempt fail.
async fn dead(world: &World, task: &Value) -> Result<String> {
    let id = world.http.create(task).await?;
    let parsed = TaskId::parse(&id).expect("an id");
    owner::die(&world.log, &world.team, parsed, 503, "HTTP 503").await?;
    let ends = |task: &Value| task["status"] == "failed";
    world.http.task_when(&id, ends).await?;
    Ok(id)
}

fn path(id: &str) -> String {
    format!("/v1/tasks/{id}/replay")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_a_new_task_that_both_sides_know() -> Result<()> {
    let world = World::start().await?;
    let asked = json!({
        "targetUrl": "http://127.0.0.1:9/hook", "json": {"a": 1}, "headers": {"X-A": "1"}, "tags": ["t"], "expiresIn": "6h",
        "maxAttempts": 50, "minDelay": "10s", "maxDelay": "1m", "jitter": 0.5, "maxAge": "2h", "retryBackoff": "fixed",
    });
    let old = dead(&world, &asked).await?;
    let made = world.http.send(Method::POST, &path(&old), &[], "").await?;
    assert_eq!(made.status, 201, "{}", made.error());
    let new = made.task();
    assert_ne!(new["id"], json!(old));
    assert_eq!(
        (&new["replayOf"], &new["status"]),
        (&json!(old), &json!("pending"))
    );
    let was = world.http.task(&old).await?;
    assert_eq!(was["replayedAs"], new["id"]);
    for field in [
        "targetUrl",
        "body",
        "headers",
        "tags",
        "expiresIn",
        "maxRetries",
        "minDelay",
        "maxDelay",
        "jitter",
        "maxAge",
        "retryBackoff",
        "timeout",
        "maxWaitTime",
        "queue",
        "method",
    ] {
        assert_eq!(new[field], was[field], "{field}");
    }

    let other = json!({"body": "other", "queue": "again", "headers": {}});
    let changed = world.http.post(&path(&old), &other).await?.task();
    assert_eq!(
        (&changed["body"], &changed["queue"], &changed["headers"]),
        (&json!("other"), &json!("again"), &json!({}))
    );
    let was = world.http.task(&old).await?;
    assert_eq!(was["replayedAs"], changed["id"], "the last one");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_replay_and_belongs_to_one_task() -> Result<()> {
    let world = World::start().await?;
    let (one, other) = (
        dead(&world, &a_task_for_now()).await?,
        dead(&world, &a_task_for_now()).await?,
    );
    let key = [("Idempotency-Key", "again-17")];
    let send = async |id: &str| world.http.send(Method::POST, &path(id), &key, "").await;
    let first = send(&one).await?;
    let second = send(&one).await?;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    assert_eq!(first.task()["id"], second.task()["id"]);
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let mismatch = send(&other).await?;
    assert_eq!(
        (mismatch.status.as_u16(), mismatch.code()),
        (422, "idempotency_mismatch".into())
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_again_is_refused_with_the_reason() -> Result<()> {
    let world = World::start().await?;
    let open = world.http.create(&a_task_for_now()).await?;
    let refused = world.http.post(&path(&open), &json!({})).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (409, "not_ended".into())
    );

    let old = dead(&world, &a_task_for_now()).await?;
    let bad = world
        .http
        .post(&path(&old), &json!({"timeout": 5000}))
        .await?;
    assert_eq!(bad.status, 400, "{}", bad.error());
    assert_eq!(bad.json()["field"], "timeout");
    let (_, stranger) = world.stranger().await?;
    assert_eq!(stranger.post(&path(&old), &json!({})).await?.status, 403);
    let unknown = path("task_0000000000000000000000000000");
    assert_eq!(world.http.post(&unknown, &json!({})).await?.status, 404);

    let mut secret = a_task_for_now();
    secret["headers"] = json!({"Authorization": "Bearer hunter2"});
    let old = dead(&world, &secret).await?;
    let gone = world.http.post(&path(&old), &json!({})).await?;
    assert_eq!(
        (gone.status.as_u16(), gone.code()),
        (409, "credentials_gone".into())
    );
    let with_new = json!({"headers": {"Authorization": "Bearer hunter3"}});
    let made = world.http.post(&path(&old), &with_new).await?;
    assert_eq!(made.status, 201, "{}", made.error());
    assert_eq!(
        made.task()["headers"],
        json!({"Authorization": "Bearer ****"})
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_mean_the_same_through_every_door() -> Result<()> {
    let world = World::start().await?;
    let retries = json!({"maxAttempts": 20, "retryBackoff": "linear", "minDelay": "2s", "maxDelay": "30s", "jitter": "full", "maxAge": "1h"});
    let mut asked = a_task_for_now();
    let given = retries.as_object().expect("an object").clone();
    asked.as_object_mut().expect("an object").extend(given);
    let single = world
        .http
        .post("/v1/tasks?explain=retries", &asked)
        .await?
        .json();
    let batch = json!({"tasks": [asked]});
    let batch = world
        .http
        .post("/v1/tasks/batch?explain=retries", &batch)
        .await?
        .json();
    let old = dead(&world, &asked).await?;
    let replay = format!("{}?explain=retries", path(&old));
    let replay = world.http.post(&replay, &json!({})).await?.json();
    let pauses = |answer: &Value| {
        let attempts = answer["retries"].as_array().expect("a plan").iter();
        attempts
            .map(|attempt| (attempt["pause"].clone(), attempt["longestPause"].clone()))
            .collect::<Vec<_>>()
    };
    let of_batch = &batch["results"][0];
    let doors = [&single, of_batch, &replay];
    for answer in doors {
        assert_eq!(pauses(answer), pauses(&single));
        for field in [
            "maxRetries",
            "retryBackoff",
            "minDelay",
            "maxDelay",
            "jitter",
            "maxAge",
        ] {
            assert_eq!(answer["task"][field], single["task"][field], "{field}");
        }
    }
    let plan = pauses(&single);
    assert_eq!(plan.len(), 20);
    assert_eq!(plan[1], (json!(2), json!(4)));
    assert_eq!(
        plan[19],
        (json!(15), json!(30)),
        "jitter has room below maxDelay"
    );
    let both = json!({"targetUrl": "http://127.0.0.1:9/", "maxRetries": 3, "maxAttempts": 3});
    let refused = world.http.post("/v1/tasks", &both).await?;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["field"]),
        (400, &json!("maxAttempts"))
    );
    world.stop().await
}
