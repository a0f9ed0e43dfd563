//! Operations: one thing done to many tasks, whoever runs it.

mod crash;
mod purge;
mod refused;

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::id::TaskId;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::owner::{self, Owner, Says};
use crate::world::{SOON, World, a_task};

/// A task that failed for good.
async fn dead(world: &World, tag: &str) -> Result<String> {
    let task = json!({"targetUrl": "http://127.0.0.1:9/hook", "tags": [tag]});
    let id = world.http.create(&task).await?;
    let parsed = TaskId::parse(&id).expect("an id");
    owner::die(&world.log, &world.team, parsed, 503, "HTTP 503").await?;
    let ends = |task: &Value| task["status"] == "failed";
    world.http.task_when(&id, ends).await?;
    Ok(id)
}

/// Begins an operation and returns its id.
async fn begin(http: &Http, request: &Value) -> Result<String> {
    let made = http.post("/v1/operations", request).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());
    let id = made.json()["operation"]["id"].clone();
    Ok(id.as_str().context("an id")?.to_owned())
}

async fn read(http: &Http, id: &str) -> Result<Value> {
    let answer = http.get(&format!("/v1/operations/{id}")).await?;
    anyhow::ensure!(answer.status == 200, "{}", answer.text());
    Ok(answer.json()["operation"].clone())
}

/// The operation, once it is over.
pub(crate) async fn over(http: &Http, id: &str) -> Result<Value> {
    eventually(SOON * 2, async || {
        let now = read(http, id).await.unwrap_or_default();
        now["endedAt"] != Value::Null && now["state"] != Value::Null
    })
    .await?;
    read(http, id).await
}

async fn steer(http: &Http, id: &str, how: &str) -> Result<(u16, Value)> {
    let path = format!("/v1/operations/{id}/{how}");
    let answer = http.send(Method::POST, &path, &[], "").await?;
    Ok((answer.status.as_u16(), answer.json()))
}

/// The tasks of a list, by one of their members.
async fn listed(http: &Http, path: &str, list: &str, member: &str) -> Result<Vec<String>> {
    let answer = http.get(path).await?.json();
    let rows = answer[list].as_array().context("a list")?;
    let of = |row: &Value| row[member].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(of).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_retried_by_filter_once_and_later_ones_left_alone() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let mut letters = Vec::new();
    for _ in 0..3 {
        letters.push(dead(&world, "a").await?);
    }
    dead(&world, "other").await?;
    let about = json!({"action": "retry", "filter": {"tag": "a", "httpStatus": [503]}, "rate": 1, "reason": "back"});
    let preview = http.post("/v1/operations/preview", &about).await?;
    assert_eq!(preview.status, 200, "{}", preview.text());
    let preview = preview.json();
    assert_eq!(
        (&preview["matched"], &preview["seconds"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(preview["examples"].as_array().map(Vec::len), Some(3));
    assert_eq!(preview["examples"][0]["id"], json!(letters[2]));
    assert_eq!(
        listed(http, "/v1/dead-letters", "deadLetters", "id")
            .await?
            .len(),
        4
    );
    assert_eq!(
        listed(http, "/v1/operations", "operations", "id")
            .await?
            .len(),
        0
    );

    let key = [("Idempotency-Key", "once")];
    let send = async || {
        http.send(Method::POST, "/v1/operations", &key, about.to_string())
            .await
    };
    let first = send().await?;
    assert_eq!(first.status, 201, "{}", first.text());
    let id = first.json()["operation"]["id"]
        .as_str()
        .context("an id")?
        .to_owned();
    let (status, paused) = steer(http, &id, "pause").await?;
    assert_eq!(
        (status, &paused["operation"]["state"]),
        (200, &json!("paused"))
    );
    let late = dead(&world, "a").await?;
    let (status, resumed) = steer(http, &id, "resume").await?;
    assert_eq!(
        (status, &resumed["operation"]["state"]),
        (200, &json!("running"))
    );
    let done = over(http, &id).await?;
    assert_eq!(done["state"], "completed");
    assert_eq!(
        (&done["matched"], &done["done"], &done["refused"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(
        (&done["reason"], &done["rate"]),
        (&json!("back"), &json!(1))
    );
    let by = done["createdBy"].as_str().context("by")?;
    assert!(by.starts_with("key:"), "{by}");
    let rest = listed(http, "/v1/dead-letters?tag=a", "deadLetters", "id").await?;
    assert_eq!(rest, std::slice::from_ref(&late));
    let mut again = listed(http, "/v1/tasks?status=pending&tag=a", "tasks", "replayOf").await?;
    again.sort();
    letters.sort();
    assert_eq!(again, letters);

    let repeated = send().await?;
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeated.json()["operation"]["id"], json!(id));
    // A second operation finds only the one that has died since.
    let shorthand = json!({"filter": {"tag": "a"}});
    let made = http.post("/v1/dead-letters/retry", &shorthand).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let second = made.json()["operation"]["id"]
        .as_str()
        .context("an id")?
        .to_owned();
    assert_eq!(over(http, &second).await?["done"], 1);
    assert_eq!(
        listed(http, "/v1/operations", "operations", "id").await?,
        [second, id.clone()]
    );

    let told = http
        .get("/v1/activity?type=operation&limit=100")
        .await?
        .json();
    let told = told.to_string();
    for event in ["created", "paused", "resumed", "ended"] {
        assert!(
            told.contains(&format!("operation.{event}")),
            "{event}: {told}"
        );
    }
    assert!(!told.contains("operation.progressed"), "{told}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_is_undone_once() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let mut task = a_task();
    task["tags"] = json!(["x"]);
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(http.create(&task).await?);
    }
    let by_hand = http.create(&task).await?;
    let kept = http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{by_hand}/cancel");
    assert_eq!(http.send(Method::POST, &path, &[], "").await?.status, 200);

    let id = begin(http, &json!({"action": "cancel", "filter": {"tag": ["x"]}})).await?;
    let cancelled = over(http, &id).await?;
    assert_eq!(
        (&cancelled["matched"], &cancelled["done"]),
        (&json!(3), &json!(3))
    );
    for task in &tasks {
        http.task_when(task, |task| task["status"] == "cancelled")
            .await?;
    }
    assert_eq!(http.task(&kept).await?["status"], "delayed");

    let (status, undo) = steer(http, &id, "undo").await?;
    assert_eq!(status, 201, "{undo}");
    assert_eq!(undo["operation"]["undoes"], json!(id));
    let undo = undo["operation"]["id"]
        .as_str()
        .context("an id")?
        .to_owned();
    let undone = over(http, &undo).await?;
    assert_eq!(
        (&undone["action"], &undone["done"]),
        (&json!("undo"), &json!(3))
    );
    let mut again = listed(http, "/v1/tasks?status=delayed&tag=x", "tasks", "replayOf").await?;
    again.sort();
    tasks.sort();
    assert_eq!(again, tasks, "not the one that was cancelled by hand");
    let dates = listed(
        http,
        "/v1/tasks?status=delayed&tag=x",
        "tasks",
        "delayUntil",
    )
    .await?;
    assert!(
        dates.iter().all(|date| date == "2040-12-31T00:00:00.000Z"),
        "{dates:?}"
    );
    let (status, repeated) = steer(http, &id, "undo").await?;
    assert_eq!((status, &repeated["operation"]["id"]), (201, &json!(undo)));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_made_of_named_tasks_and_each_refusal_is_listed() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let (letter, open) = (dead(&world, "a").await?, http.create(&a_task()).await?);
    let unknown = "task_0000000000000000000000000000";
    let ids = json!([letter, open, unknown, letter]);
    let id = begin(http, &json!({"action": "replay", "ids": ids})).await?;
    let done = over(http, &id).await?;
    assert_eq!(
        (
            &done["matched"],
            &done["done"],
            &done["refused"],
            &done["filter"]
        ),
        (&json!(3), &json!(1), &json!(2), &Value::Null)
    );
    let refused = |place: usize| {
        (
            done["refusals"][place]["id"].clone(),
            done["refusals"][place]["code"].clone(),
        )
    };
    assert_eq!(refused(0), (json!(open), json!("not_ended")));
    assert_eq!(refused(1), (json!(unknown), json!("not_found")));
    // Another operation makes another task; the one before it made one.
    let again = begin(
        http,
        &json!({"action": "replay", "filter": {"tag": "a", "status": "failed"}}),
    )
    .await?;
    assert_eq!(over(http, &again).await?["done"], 1);
    let made = listed(http, "/v1/tasks?status=pending&tag=a", "tasks", "replayOf").await?;
    assert_eq!(made, [letter.clone(), letter]);
    world.stop().await
}
