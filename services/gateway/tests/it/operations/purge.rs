//! Purges: what waits is cancelled, dead letters leave their list, and what runs is left alone.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};

use super::{begin, dead, listed, over, steer};
use crate::owner::{Owner, Says};
use crate::world::{World, a_task};

fn id_of(answer: &Value) -> Result<String> {
    let id = answer["operation"]["id"].as_str().context("an id")?;
    Ok(id.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_purged_of_what_waits_and_that_can_be_undone() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let mut waiting = vec![http.create(&a_task()).await?, http.create(&a_task()).await?];
    let mut task = a_task();
    task["queue"] = json!("mail");
    let elsewhere = http.create(&task).await?;
    let letter = dead(&world, "a").await?;

    let key = [("Idempotency-Key", "once")];
    let send = async |body: &str| {
        let path = "/v1/queues/default/purge";
        http.send(Method::POST, path, &key, body.to_owned()).await
    };
    let made = send(r#"{"reason": "by mistake"}"#).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let operation = &made.json()["operation"];
    assert_eq!(
        (
            &operation["action"],
            &operation["rate"],
            &operation["filter"]
        ),
        (
            &json!("purge"),
            &json!(1_000),
            &json!({"queue": ["default"], "status": ["pending", "delayed"]})
        )
    );
    let id = id_of(&made.json())?;
    let done = over(http, &id).await?;
    assert_eq!(
        (&done["matched"], &done["done"], &done["refused"]),
        (&json!(2), &json!(2), &json!(0))
    );
    for task in &waiting {
        let task = http.task_when(task, |task| task["status"] == "cancelled");
        assert_eq!(task.await?["endReason"], "cancelled");
    }
    assert_eq!(http.task(&elsewhere).await?["status"], "delayed");
    let letters = listed(http, "/v1/dead-letters", "deadLetters", "id").await?;
    assert_eq!(letters, [letter]);
    let repeated = send(r#"{"reason": "by mistake"}"#).await?;
    assert_eq!(repeated.header("idempotency-replayed"), Some("true"));
    let other = send(r#"{"reason": "another one"}"#).await?;
    assert_eq!(other.status, 422, "{}", other.text());

    let (status, undo) = steer(http, &id, "undo").await?;
    assert_eq!(status, 201, "{undo}");
    assert_eq!(over(http, &id_of(&undo)?).await?["done"], 2);
    let mut again = listed(
        http,
        "/v1/tasks?queue=default&status=delayed",
        "tasks",
        "replayOf",
    )
    .await?;
    again.sort();
    waiting.sort();
    assert_eq!(again, waiting);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_left_alone() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Running).await?;
    let task = http.create(&a_task()).await?;
    let made = http
        .send(Method::POST, "/v1/queues/default/purge", &[], "")
        .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let done = over(http, &id_of(&made.json())?).await?;
    assert_eq!((&done["done"], &done["refused"]), (&json!(0), &json!(0)));
    // Named one by one, it is said.
    let id = begin(http, &json!({"action": "purge", "ids": [task]})).await?;
    let done = over(http, &id).await?;
    assert_eq!(
        (&done["refused"], &done["refusals"][0]["code"]),
        (&json!(1), &json!("not_cancellable"))
    );
    assert_eq!(http.task(&task).await?["status"], "delayed");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_leave_their_list_and_stay_readable() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let (first, second) = (dead(&world, "a").await?, dead(&world, "a").await?);
    let kept = dead(&world, "other").await?;
    let mut open = a_task();
    open["tags"] = json!(["a"]);
    let open = http.create(&open).await?;

    let about = json!({"filter": {"tag": "a"}, "reason": "fixed by hand"});
    let made = http.post("/v1/dead-letters/purge", &about).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = id_of(&made.json())?;
    let done = over(http, &id).await?;
    assert_eq!(
        (&done["matched"], &done["done"], &done["refused"]),
        (&json!(2), &json!(2), &json!(0))
    );
    for letter in [&first, &second] {
        let is_purged = |task: &Value| task["purgedAt"].is_string();
        http.task_when(letter, is_purged).await?;
    }
    for path in ["/v1/dead-letters", "/v1/dead-letters?retried=true"] {
        let letters = listed(http, path, "deadLetters", "id").await?;
        assert_eq!(letters, std::slice::from_ref(&kept), "{path}");
    }
    let groups = http.get("/v1/dead-letters/groups").await?.json();
    assert_eq!(groups["total"], 1, "{groups}");
    let purged = http.task(&first).await?;
    assert_eq!(
        (&purged["status"], &purged["endReason"]),
        (&json!("failed"), &json!("dead"))
    );
    assert!(purged["purgedAt"].is_string(), "{purged}");
    assert_eq!(http.task(&kept).await?.get("purgedAt"), None);
    assert_eq!(http.task(&open).await?["status"], "delayed");

    // Of what was purged nothing is retried; it can be replayed.
    let path = format!("/v1/dead-letters/{first}/retry");
    assert_eq!(http.send(Method::POST, &path, &[], "").await?.status, 404);
    let retry = begin(http, &json!({"action": "retry", "filter": {"tag": "a"}})).await?;
    assert_eq!(over(http, &retry).await?["matched"], 0);
    let path = format!("/v1/tasks/{second}/replay");
    assert_eq!(http.send(Method::POST, &path, &[], "").await?.status, 201);
    let (status, error) = steer(http, &id, "undo").await?;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("conflict")),
        "{error}"
    );

    // By ids, too, it is for nothing but dead letters.
    let ids = json!({"ids": [kept, open]});
    let made = http.post("/v1/dead-letters/purge", &ids).await?;
    let done = over(http, &id_of(&made.json())?).await?;
    assert_eq!(
        (&done["done"], &done["refused"]),
        (&json!(1), &json!(1)),
        "{done}"
    );
    assert_eq!(done["refusals"][0]["id"], json!(open));
    assert_eq!(http.task(&open).await?["status"], "delayed");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_purge_is_for_what_waits_and_for_dead_letters() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let letter = dead(&world, "a").await?;
    let mut open = a_task();
    open["tags"] = json!(["a"]);
    let open = http.create(&open).await?;
    let about = json!({"action": "purge", "filter": {"tag": "a"}});
    let preview = http.post("/v1/operations/preview", &about).await?.json();
    assert_eq!(
        (&preview["matched"], &preview["seconds"]),
        (&json!(2), &json!(1)),
        "{preview}"
    );
    let id = begin(http, &about).await?;
    assert_eq!(over(http, &id).await?["done"], 2);
    http.task_when(&open, |task| task["status"] == "cancelled")
        .await?;
    http.task_when(&letter, |task| task["purgedAt"].is_string())
        .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_purge_is_refused_by_the_name_of_its_field() -> Result<()> {
    let world = World::start().await?;
    for (path, request, field) in [
        (
            "/v1/operations",
            json!({"action": "purge", "filter": {"status": "processing"}}),
            "filter.status",
        ),
        (
            "/v1/operations",
            json!({"action": "purge", "filter": {"status": "completed"}}),
            "filter.status",
        ),
        ("/v1/operations", json!({"action": "purge"}), "filter"),
        ("/v1/dead-letters/purge", json!({}), "filter"),
        (
            "/v1/dead-letters/purge",
            json!({"filter": {"status": "pending"}}),
            "filter.status",
        ),
        (
            "/v1/dead-letters/purge",
            json!({"filter": {}, "rate": 0}),
            "rate",
        ),
        ("/v1/queues/mail/purge", json!({"rate": 1_001}), "rate"),
        (
            "/v1/queues/mail/purge",
            json!({"reason": "x".repeat(501)}),
            "reason",
        ),
    ] {
        let refused = world.http.post(path, &request).await?;
        assert_eq!(refused.status, 400, "{path} {request}: {}", refused.text());
        assert_eq!(
            refused.json()["field"],
            field,
            "{path} {request}: {}",
            refused.text()
        );
    }
    let unknown = world
        .http
        .post("/v1/queues/mail/purge", &json!({"filter": {}}))
        .await?;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
    let (_, stranger) = world.stranger().await?;
    let made = stranger
        .send(Method::POST, "/v1/queues/default/purge", &[], "")
        .await?;
    assert_eq!(
        made.json()["operation"]["matched"],
        0,
        "its own queue of that name"
    );
    world.stop().await
}
