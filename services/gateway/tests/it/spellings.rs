//! What clients write in other ways than the documentation does, and what is meant all the same.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_testkit::http::Http;

use crate::world::{World, a_task};

/// Times as people and libraries write them, and the instants that they mean.
const TIMES: [(&str, &str); 7] = [
    ("2040-12-31T10:00Z", "2040-12-31T10:00:00.000Z"),
    ("2040-12-31T12:00:00+0200", "2040-12-31T10:00:00.000Z"),
    ("2040-12-31T12:00+02", "2040-12-31T10:00:00.000Z"),
    ("2040-12-31T10:00:00,0Z", "2040-12-31T10:00:00.000Z"),
    ("2040-12-31T10:00:00,25Z", "2040-12-31T10:00:00.250Z"),
    ("2040-12-30T24:00Z", "2040-12-31T00:00:00.000Z"),
    ("2040-12-30T24:00:00+0000", "2040-12-31T00:00:00.000Z"),
];

/// Posts a body with a time in it, and gives back what it was understood as.
async fn understood(
    http: &Http,
    path: &str,
    mut body: Value,
    member: &str,
    time: &str,
) -> Result<Value> {
    body[member] = json!(time);
    let made = http.post(path, &body).await?;
    anyhow::ensure!(made.status == 201, "{path} {body}: {}", made.text());
    let made = made.json();
    let things = ["task", "apiKey", "token"];
    let made = things.iter().find_map(|thing| made.get(thing));
    Ok(made.context("what was made")?[member].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_same_instant_however_it_is_written() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let keys = format!("/teams/{}/apikeys", world.team);
    let task = json!({"targetUrl": "http://127.0.0.1:9/hook"});
    for (written, meant) in TIMES {
        for (path, body, member) in [
            ("/v1/tasks", task.clone(), "delayUntil"),
            ("/v1/tasks", task.clone(), "deadline"),
            (keys.as_str(), json!({"name": "k"}), "expiresAt"),
            (
                "/v1/tokens",
                json!({"name": "t", "value": "v"}),
                "expiresAt",
            ),
        ] {
            let read = understood(http, path, body, member, written).await?;
            assert_eq!(read, json!(meant), "{path} {member} {written}");
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_a_query_is_read_like_one_in_a_body() -> Result<()> {
    let world = World::start().await?;
    let id = world.http.create(&a_task()).await?;
    world
        .http
        .task_when(&id, |task| task["status"] == "delayed")
        .await?;
    for (path, parameter, list, finds) in [
        ("/v1/tasks", "createdBefore", "tasks", true),
        ("/v1/tasks", "createdAfter", "tasks", false),
        ("/v1/activity", "before", "activity", true),
        ("/v1/activity", "after", "activity", false),
    ] {
        for (written, _) in TIMES {
            let written = written.replace('+', "%2B");
            let query = format!("{path}?{parameter}={written}");
            let answer = world.http.get(&query).await?;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            let found = answer.json()[list]
                .as_array()
                .map(|found| !found.is_empty());
            assert_eq!(found, Some(finds), "{query}: {}", answer.text());
        }
    }
    world.stop().await
}

/// Some libraries and most editors of one system write U+FEFF before a text in UTF-8.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_before_json_is_skipped() -> Result<()> {
    let world = World::start().await?;
    let log_in = json!({"email": "nobody@example.com", "password": "a long password"});
    for (path, body, status) in [
        ("/v1/tasks", a_task(), 201),
        ("/v1/tasks/batch", json!({"tasks": [a_task()]}), 200),
        ("/v1/auth/login", log_in, 401),
    ] {
        let marked = format!("\u{feff}{body}");
        let answer = world.http.send(Method::POST, path, &[], marked).await?;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
    }
    world.stop().await
}
