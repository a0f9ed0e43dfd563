//! What calls sent and were answered, through the API: who sees it, and whose it is.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::role::Role;
use waybill_domain::event::BodyEncoding;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::{Capture, CapturedCall, CapturedKind, CapturedMessage, Captures};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::teams::people::Person;
use crate::world::{SOON, World, a_task};

fn message(body: &str, body_bytes: u64) -> CapturedMessage {
    CapturedMessage {
        headers: vec![
            ("x-a".into(), "1".into()),
            ("x-b".into(), "2".into()),
            ("x-a".into(), "3".into()),
        ],
        headers_cut: false,
        body: body.into(),
        encoding: BodyEncoding::Text,
        body_bytes,
    }
}

fn capture(team: &TeamId, task: TaskId, kind: CapturedKind, number: u32) -> Capture {
    Capture {
        call: CapturedCall {
            team: team.clone(),
            task,
            kind,
            number,
        },
        at: Timestamp(1_790_000_000_000 + i64::from(number)),
        duration_ms: 7,
        method: "POST".into(),
        url: "https://api.example/hook?key=[vault:tok_1]".into(),
        request: message("{\"order\": 17}", 5_000),
        status: (number == 1).then_some(503),
        answer: (number == 1).then(|| message("down for maintenance", 20)),
        failure: (number != 1).then(|| "no answer".into()),
    }
}

async fn captures(http: &Http, task: &str) -> Result<Value> {
    let told = http.get(&format!("/v1/tasks/{task}/captures")).await?;
    anyhow::ensure!(told.status == 200, "{}", told.text());
    Ok(told.json())
}

async fn make_task(http: &Http) -> Result<String> {
    let made = http.post("/v1/tasks", &a_task()).await?;
    anyhow::ensure!(made.status == 201 || made.status == 202, "{}", made.text());
    let id = made.json()["task"]["id"].as_str().map(str::to_owned);
    id.context("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_shown_as_they_were_made_and_only_to_those_who_may() -> Result<()> {
    let world = World::start().await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "pro").await?;
    let vic = Person::signed_in(&world, "vic").await?;
    vic.joined(&world, &team, Role::Viewer).await?;
    let task = make_task(&ann.http).await?;
    assert_eq!(
        captures(&ann.http, &task).await?,
        json!({"captures": [], "missing": 0})
    );
    let id = TaskId::parse(&task)?;
    for (kind, number) in [
        (CapturedKind::Attempt, 2),
        (CapturedKind::Attempt, 1),
        (CapturedKind::Delivery, 3),
    ] {
        world.log.capture(capture(&team, id, kind, number)).await;
    }
    // Nothing acknowledges a capture.
    eventually(SOON, async || {
        let all = captures(&ann.http, &task).await.unwrap_or_default();
        all["captures"].as_array().is_some_and(|all| all.len() == 3)
    })
    .await?;
    let seen = captures(&ann.http, &task).await?;
    let first = &seen["captures"][0];
    assert_eq!(
        (&first["kind"], &first["number"], &first["duration"]),
        (&json!("attempt"), &json!(1), &json!(7))
    );
    assert_eq!(
        first["request"],
        json!({"headers": {"x-a": ["1", "3"], "x-b": "2"}, "body": "{\"order\": 17}", "bodyBytes": 5_000, "truncated": ["body"]})
    );
    assert_eq!(first["response"]["statusCode"], json!(503));
    assert_eq!(first["response"]["body"], json!("down for maintenance"));
    let last = &seen["captures"][2];
    assert_eq!(last["kind"], json!("delivery"));
    assert_eq!(
        (&last["response"], &last["error"]),
        (&Value::Null, &json!("no answer"))
    );
    // A viewer sees that there were calls, and not what they carried.
    let withheld = captures(&vic.http, &task).await?;
    assert_eq!(withheld["withheld"], json!(["headers", "body"]));
    assert_eq!(
        withheld["captures"][0]["request"],
        json!({"bodyBytes": 5_000})
    );
    assert_eq!(
        withheld["captures"][0]["response"],
        json!({"statusCode": 503, "bodyBytes": 20})
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calls_of_others_and_of_no_task_are_not_shown() -> Result<()> {
    let world = World::start().await?;
    let task = make_task(&world.http).await?;
    let (_, other) = world.stranger().await?;
    let path = format!("/v1/tasks/{task}/captures");
    assert_eq!(other.get(&path).await?.status, 403);
    assert_eq!(world.http.get(&path).await?.status, 200);
    let unknown = TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"));
    let path = format!("/v1/tasks/{unknown}/captures");
    assert_eq!(world.http.get(&path).await?.status, 404);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_says_that_nothing_of_its_calls_is_kept() -> Result<()> {
    let world = World::start().await?;
    let set = json!({"defaults": {"capture": false}});
    let headers = [("content-type", "application/json")];
    let path = "/v1/queues/secret";
    let set = set.to_string();
    let set = world.http.send(Method::PUT, path, &headers, set).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(set.json()["queue"]["defaults"], json!({"capture": false}));
    world.stop().await
}
