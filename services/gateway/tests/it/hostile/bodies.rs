//! What a client sends although it is not its to decide, and parameters made up.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_log::{Log, Stream, StreamSeq};

use crate::world::{World, a_task};

/// Members of a task that only the server sets.
fn servers_own() -> Vec<(&'static str, Value)> {
    vec![
        ("id", json!("task_00000000000000000000000000")),
        ("teamId", json!("team_00000000000000000000000001")),
        ("plan", json!("enterprise")),
        ("status", json!("completed")),
        ("result", json!({"statusCode": 200})),
        ("retryCount", json!(-5)),
        ("createdAt", json!("2001-01-01T00:00:00Z")),
        ("updatedAt", json!("2001-01-01T00:00:00Z")),
        ("startedAt", json!("2001-01-01T00:00:00Z")),
        ("completedAt", json!("2001-01-01T00:00:00Z")),
        ("ok", json!(true)),
        ("endReason", json!("completed")),
        ("error", json!("none")),
        ("attempts", json!([])),
        ("webhook", json!({"status": "delivered"})),
        ("cancelRequested", json!(true)),
        ("bodyBytes", json!(17)),
        ("truncated", json!(false)),
        ("environment", json!("test")),
    ]
}

// API3.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_cannot_be_given_what_only_the_server_sets() -> Result<()> {
    let world = World::start().await?;
    let mut batch = Vec::new();
    for (member, value) in servers_own() {
        let mut task = a_task();
        task[member] = value;
        let answer = world.http.post("/v1/tasks", &task).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some(member)),
            "{}",
            answer.error()
        );
        assert!(
            answer.error().contains("cannot be sent"),
            "{}",
            answer.error()
        );
        batch.push(task);
    }
    let answer = world
        .http
        .post("/v1/tasks/batch", &json!({"tasks": batch}))
        .await?;
    let results = answer.json()["results"].clone();
    for (result, (member, _)) in results
        .as_array()
        .expect("results")
        .iter()
        .zip(servers_own())
    {
        assert_eq!(
            (&result["status"], &result["field"]),
            (&json!(400), &json!(member))
        );
    }
    assert_eq!(
        world.log.bounds(Stream::Tasks).await?.last,
        StreamSeq(0),
        "nothing was stored"
    );
    world.stop().await
}

// API3.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_cannot_be_given_what_only_the_server_sets() -> Result<()> {
    let world = World::start().await?;
    let (strangers, _) = world.stranger().await?;
    let asked = json!({
        "name": "mine", "scopes": ["tasks:read"],
        "id": "key_00000000", "teamId": strangers.to_string(), "key": "wb_live_x", "prefix": "sp_live_",
        "createdAt": "2001-01-01T00:00:00Z", "revokedAt": null, "plan": "enterprise", "createdBy": "system",
    });
    let keys = format!("/teams/{}/apikeys", world.team);
    let answer = world.http.post(&keys, &asked).await?;
    // Refused, or made as if the members were not there.
    if answer.status == 201 {
        let key = &answer.json()["apiKey"];
        assert_eq!(key["teamId"], json!(world.team.to_string()));
        for member in ["id", "key", "prefix", "createdAt"] {
            assert_ne!(key[member], asked[member], "{member}");
        }
        assert_eq!(key["scopes"], asked["scopes"]);
    } else {
        assert_eq!(answer.status, 400, "{}", answer.error());
    }
    world.stop().await
}

// API3: a parser that took the other one of two members would see another request.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_there_twice_is_refused() -> Result<()> {
    let world = World::start().await?;
    for body in [
        r#"{"targetUrl": "http://127.0.0.1:9/", "targetUrl": "http://127.0.0.1:9/x"}"#,
        r#"{"targetUrl": "http://127.0.0.1:9/", "callbackUrl": "http://127.0.0.1:9/x"}"#,
        r#"{"targetUrl": "http://127.0.0.1:9/", "priority": 1, "priority": 10}"#,
    ] {
        let answer = world
            .http
            .send(Method::POST, "/v1/tasks", &[], body)
            .await?;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    assert_eq!(world.log.bounds(Stream::Tasks).await?.last, StreamSeq(0));
    world.stop().await
}

// API4.
#[tokio::test(flavor = "multi_thread")]
async fn limits_and_cursors_made_up_are_refused_by_name() -> Result<()> {
    let world = World::start().await?;
    world.http.create(&a_task()).await?;
    let numbers = [
        "0",
        "-1",
        "101",
        "1000000000",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "1e9",
        "1.5",
        "NaN",
        "Infinity",
        "0x10",
        "abc",
        "",
        "%00",
        "%F0%9F%92%A9",
        "1%200",
        "1;2",
        "[]",
        "null",
    ];
    let cursors = [
        "x",
        "0",
        "-1",
        "AAAA",
        "%00",
        "..%2f..%2f",
        "eyJhIjoxfQ",
        "eyJhIjoxfQ==",
        "____",
        "%FF%FE",
        "'%20OR%201=1--",
        "18446744073709551615",
        "00000000000000000000000000000000",
    ];
    let long = "A".repeat(4_000);
    for path in ["/v1/tasks", "/v1/activity"] {
        for number in numbers {
            let answer = world.http.get(&format!("{path}?limit={number}")).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.json()["field"].as_str()),
                (400, Some("limit")),
                "{path}?limit={number}: {}",
                answer.text()
            );
        }
        for cursor in cursors.into_iter().chain([long.as_str()]) {
            let answer = world.http.get(&format!("{path}?cursor={cursor}")).await?;
            assert_eq!(
                (answer.status.as_u16(), answer.json()["field"].as_str()),
                (400, Some("cursor")),
                "{path}?cursor={cursor}: {}",
                answer.text()
            );
        }
    }
    for offset in ["-1", "10001", "1000000000000", "x", "1e3"] {
        let answer = world
            .http
            .get(&format!("/v1/tasks?offset={offset}"))
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some("offset")),
            "{offset}"
        );
    }
    let twice = world.http.get("/v1/tasks?limit=1&limit=100").await?;
    assert_eq!(twice.status, 400, "which of the two would count?");
    world.stop().await
}
