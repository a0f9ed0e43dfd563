//! What is refused, and by which field.

use anyhow::Result;
use serde_json::{Value, json};

use super::{begin, each_second, ledger};
use crate::world::{SOON, World};
use waybill_testkit::eventually;

fn with(member: &str, value: &Value) -> Value {
    let mut request = each_second();
    request[member] = value.clone();
    request
}

fn task(member: &str, value: &Value) -> Value {
    let mut request = each_second();
    request["task"][member] = value.clone();
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_its_field() -> Result<()> {
    let world = World::start().await?;
    let all = json!({"mode": "all", "max": 1001});
    for (request, field) in [
        (with("when", &json!("sometimes")), "when"),
        (with("when", &json!("cron(0 0 30 2 *)")), "when"),
        (with("when", &json!("every 500ms")), "when"),
        (with("when", &json!("at 2001-01-01T00:00")), "when"),
        (with("when", &Value::Null), "when"),
        (with("zone", &json!("Mars/Olympus")), "zone"),
        (with("until", &json!("tomorrow")), "until"),
        (with("overlap", &json!("maybe")), "overlap"),
        (with("catchUp", &json!({"mode": "some"})), "catchUp.mode"),
        (with("catchUp", &json!({"max": 3})), "catchUp.max"),
        (with("catchUp", &all), "catchUp.max"),
        (with("jitter", &json!("2h")), "jitter"),
        (with("name", &json!("x".repeat(101))), "name"),
        (with("task", &Value::Null), "task"),
        (with("task", &json!({"method": "PUT"})), "task.targetUrl"),
        (task("delay", &json!("5m")), "task.delay"),
        (
            task("delayUntil", &json!("2040-01-01T00:00:00Z")),
            "task.delayUntil",
        ),
        (
            task("deadline", &json!("2040-01-01T00:00:00Z")),
            "task.deadline",
        ),
        (task("idempotencyKey", &json!("a")), "task.idempotencyKey"),
        (
            task("debounce", &json!({"key": "a", "delay": "5s"})),
            "task.debounce",
        ),
        (
            task("headers", &json!({"Authorization": "Bearer hunter2"})),
            "task.headers",
        ),
        (
            task("headers", &json!({"X-Api-Key": "hunter2"})),
            "task.headers",
        ),
        (task("body", &json!("{{run.colour}}")), "task"),
        (task("json", &json!("x".repeat(70_000))), "task"),
        (task("priority", &json!(11)), "task.priority"),
    ] {
        let mut request = request;
        if field == "task" && request["task"]["body"].is_string() {
            request["task"]["json"] = Value::Null;
        }
        let answer = world.http.post("/v1/schedules", &request).await?;
        assert_eq!(answer.status, 400, "{field}: {}", answer.text());
        assert_eq!(answer.json()["field"], field, "{}", answer.text());
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let mut twice = task("singleton", &json!({"key": "a"}));
    twice["overlap"] = json!("skip");
    let answer = world.http.post("/v1/schedules", &twice).await?;
    assert_eq!(answer.json()["field"], "overlap", "{}", answer.text());
    let listed = world.http.get("/v1/schedules").await?.json();
    assert_eq!(listed["schedules"], json!([]), "nothing was stored");

    // A key makes one schedule, and no other.
    let key = [("Idempotency-Key", "one")];
    let send = async |request: Value| {
        let post = http::Method::POST;
        let http = &world.http;
        http.send(post, "/v1/schedules", &key, request.to_string())
            .await
    };
    let hourly = with("when", &json!("every 1h"));
    let first = send(hourly.clone()).await?;
    let again = send(hourly).await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let id = |answer: &Value| answer["schedule"]["id"].clone();
    assert_eq!(id(&again.json()), id(&first.json()));
    assert_eq!(send(with("when", &json!("every 2h"))).await?.status, 422);
    // What is unknown is warned of, by its place.
    let odd = task("colour", &json!("red"));
    let answer = world.http.post("/v1/schedules", &odd).await?;
    assert_eq!(answer.json()["warnings"][0]["field"], "task.colour");
    world.stop().await
}

/// The task was fine when the schedule was set, and is not any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_task_is_refused_is_missed_and_says_why() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let token = json!({"name": "t", "value": "secret-value-1"});
    let made = http.post("/v1/tokens", &token).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let token = made.json()["token"]["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let header = json!({"Authorization": format!("Bearer {{{{{token}}}}}")});
    let id = begin(http, &task("headers", &header)).await?;
    let path = format!("/v1/tokens/{token}");
    let gone = http.send(http::Method::DELETE, &path, &[], "").await?;
    assert!(gone.status.is_success(), "{}", gone.text());
    eventually(SOON, async || {
        let runs = ledger(http, &id).await.unwrap_or_default();
        runs.iter()
            .any(|run| run["outcome"] == "missed" && run["refused"].is_string())
    })
    .await?;
    world.stop().await
}
