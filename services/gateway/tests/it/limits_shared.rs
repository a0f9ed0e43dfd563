//! Limits that tasks share through the API: what a task may say, who may decide, and what is told.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_testkit::http::Answer;

use crate::owner::{Owner, Says};
use crate::world::{World, a_task_for_now};

async fn put(world: &World, key: &str, tag: Option<&str>, body: Value) -> Result<Answer> {
    let headers: Vec<_> = tag.iter().map(|tag| ("if-match", *tag)).collect();
    let path = format!("/v1/limits/{key}");
    world
        .http
        .send(Method::PUT, &path, &headers, body.to_string())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_its_limits_and_bad_ones_are_refused() -> Result<()> {
    let world = World::start().await?;
    let limits = json!([{"key": "customer:17", "concurrency": 2}, {"key": "api", "rate": {"limit": 5, "per": "1m"}}]);
    let mut task = a_task_for_now();
    task["limits"] = limits;
    let made = world.http.post("/v1/tasks", &task).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let shown = made.task()["limits"].clone();
    assert_eq!(
        shown,
        json!([
            {"key": "customer:17", "concurrency": 2, "rate": null},
            {"key": "api", "concurrency": null, "rate": {"limit": 5, "per": 60, "burst": 1}}
        ])
    );
    let id = made.task()["id"].as_str().context("an id")?.to_owned();
    assert_eq!(
        world.http.task(&id).await?["limits"],
        shown,
        "also when it is read"
    );
    for (limits, field) in [
        (
            json!([{"key": "a"}, {"key": "b"}, {"key": "c"}, {"key": "d"}, {"key": "e"}]),
            "limits",
        ),
        (json!([{"key": "a"}, {"key": "a"}]), "limits"),
        (json!([{"key": "a b"}]), "limits.key"),
        (
            json!([{"key": "a", "concurrency": 0}]),
            "limits.concurrency",
        ),
        (
            json!([{"key": "a", "rate": {"limit": 1}}]),
            "limits.rate.per",
        ),
    ] {
        task["limits"] = limits;
        let refused = world.http.post("/v1/tasks", &task).await?;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["field"], field);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_set_paused_told_and_resumed() -> Result<()> {
    let world = World::start().await?;
    let set = put(&world, "set", None, json!({"concurrency": 3})).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(set.json()["limit"]["pinned"], true);
    let tag = set.header("etag").context("a tag")?.to_owned();
    let later = put(&world, "set", Some(&tag), json!({"concurrency": 4})).await?;
    assert_eq!(later.status, 200, "{}", later.text());
    let moved = put(&world, "set", Some(&tag), json!({"concurrency": 5})).await?;
    assert_eq!(
        (moved.status.as_u16(), moved.code()),
        (412, "precondition_failed".into())
    );
    for (body, field) in [
        (json!({"concurrency": 0}), "concurrency"),
        (json!({"rate": {"limit": 5}}), "rate.per"),
        (json!({"rate": {"limit": 5, "per": "2d"}}), "rate.per"),
    ] {
        let refused = put(&world, "set", None, body).await?;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["field"], field);
    }
    let nobody = world.http.get("/v1/limits/set").await?;
    assert_eq!(
        nobody.status,
        503,
        "no worker tells how it stands: {}",
        nobody.text()
    );

    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let told = world.http.get("/v1/limits/set").await?;
    assert_eq!(told.status, 200, "{}", told.text());
    let partitions = u64::from(world.log.partitions().get());
    let limit = told.json()["limit"].clone();
    assert_eq!(
        (&limit["concurrency"], &limit["running"]),
        (&json!(4), &json!(partitions))
    );
    assert_eq!(limit["waiting"], 2 * partitions);
    assert_eq!(told.header("etag"), later.header("etag"));

    let until = json!({"reason": "asked for", "until": "2099-01-31T12:00:00Z"});
    let paused = world.http.post("/v1/limits/set/pause", &until).await?;
    assert_eq!(paused.status, 200, "{}", paused.text());
    assert_eq!(paused.json()["limit"]["pause"]["reason"], "asked for");
    let listed = world.http.get("/v1/limits").await?.json();
    let keys: Vec<_> = listed["limits"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|limit| {
            (
                limit["key"].clone(),
                limit["pinned"].clone(),
                limit["concurrency"].clone(),
            )
        })
        .collect();
    let expected = [
        (json!("said"), json!(false), json!(7)),
        (json!("set"), json!(true), json!(4)),
    ];
    assert_eq!(keys, expected);
    let resumed = world
        .http
        .send(Method::POST, "/v1/limits/set/resume", &[], "")
        .await?;
    assert_eq!(resumed.json()["limit"]["pause"], Value::Null);
    let loose = put(&world, "set", None, json!({})).await?;
    assert_eq!(loose.json()["limit"]["pinned"], false);

    let activity = world.http.get("/v1/activity?type=limit.").await?.json();
    let entries = activity["activity"].as_array().context("entries")?.clone();
    let kinds: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "limit.set",
            "limit.resumed",
            "limit.paused",
            "limit.set",
            "limit.set"
        ]
    );
    Ok(())
}
