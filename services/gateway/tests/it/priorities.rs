//! Changing the priority of one task, and of many.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::id::TaskId;

use crate::operations::over;
use crate::owner::{self, Owner, Says};
use crate::world::{World, a_task};

async fn patch(world: &World, id: &str, body: &Value) -> Result<(u16, Value)> {
    let path = format!("/v1/tasks/{id}");
    let sent = world.http.send(Method::PATCH, &path, &[], body.to_string());
    let answer = sent.await?;
    Ok((answer.status.as_u16(), answer.json()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_gets_another_priority_and_others_say_why_not() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let id = http.create(&a_task()).await?;
    for (body, field) in [
        (json!({}), "priority"),
        (json!({"priority": 0}), "priority"),
        (json!({"priority": 11}), "priority"),
        (json!({"priority": null}), "priority"),
    ] {
        let (status, refused) = patch(&world, &id, &body).await?;
        assert_eq!(
            (status, &refused["field"]),
            (400, &json!(field)),
            "{body}: {refused}"
        );
    }
    for body in [
        json!({"priority": "high"}),
        json!({"priority": 1.5}),
        json!([9]),
    ] {
        assert_eq!(patch(&world, &id, &body).await?.0, 400, "{body}");
    }
    let strict = [("Prefer", "handling=strict")];
    let path = format!("/v1/tasks/{id}");
    let odd = json!({"priority": 9, "queue": "mail"}).to_string();
    let refused = http
        .send(Method::PATCH, &path, &strict, odd.clone())
        .await?;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(http.task(&id).await?["priority"], 5, "nothing has changed");

    let owner = Owner::start(&world.log, Says::Running).await?;
    let (status, refused) = patch(&world, &id, &json!({"priority": 9})).await?;
    assert_eq!((status, &refused["code"]), (409, &json!("already_running")));
    drop(owner);
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let changed = http.send(Method::PATCH, &path, &[], odd).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let position = changed
        .header("waybill-position")
        .context("a position")?
        .to_owned();
    let said = changed.json();
    assert_eq!(said["task"]["priority"], 9);
    assert!(said["warnings"].to_string().contains("queue"), "{said}");
    let read = http.get(&format!("{path}?at={position}")).await?.task();
    assert_eq!(
        (&read["priority"], &read["status"], &read["queue"]),
        (&json!(9), &json!("delayed"), &json!("default"))
    );
    let mut events = http.events(&format!("{path}/events"), None).await?;
    let created = events.next().await?.context("the creation")?;
    let told = events.next().await?.context("the change")?;
    assert_eq!(
        (created.name.as_str(), told.name.as_str()),
        ("task.created", "task.priority_changed")
    );
    assert_eq!(told.data["priority"], 9, "{:?}", told.data);
    drop(events);

    let (_, stranger) = world.stranger().await?;
    let theirs = stranger.send(
        Method::PATCH,
        &path,
        &[],
        json!({"priority": 1}).to_string(),
    );
    assert_eq!(theirs.await?.status, 403);
    let unknown = "task_0000000000000000000000000000";
    assert_eq!(
        patch(&world, unknown, &json!({"priority": 1})).await?.0,
        404
    );

    let parsed = TaskId::parse(&id).expect("an id");
    owner::die(&world.log, &world.team, parsed, 500, "it broke").await?;
    http.task_when(&id, |task| task["status"] == "failed")
        .await?;
    let (status, refused) = patch(&world, &id, &json!({"priority": 8})).await?;
    assert_eq!((status, &refused["code"]), (409, &json!("already_ended")));
    // Whoever does it again does it with the priority that it had at last.
    let again = http
        .send(Method::POST, &format!("{path}/replay"), &[], "")
        .await?;
    assert_eq!(again.task()["priority"], 9, "{}", again.text());
    world.stop().await
}

/// Begins an operation and returns it once it is over.
async fn operation(world: &World, request: &Value) -> Result<Value> {
    let made = world.http.post("/v1/operations", request).await?;
    anyhow::ensure!(made.status == 201, "{}", made.text());
    let id = made.json()["operation"]["id"].clone();
    over(&world.http, id.as_str().context("an id")?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_get_another_priority_and_it_is_taken_back() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let mut task = a_task();
    task["tags"] = json!(["x"]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(http.create(&task).await?);
    }
    let other = http.create(&a_task()).await?;
    let about = json!({"action": "changePriority", "priority": 9, "filter": {"tag": "x"}});
    let preview = http.post("/v1/operations/preview", &about).await?;
    assert_eq!(preview.json()["matched"], 3, "{}", preview.text());
    let done = operation(&world, &about).await?;
    assert_eq!(
        (
            &done["action"],
            &done["priority"],
            &done["done"],
            &done["refused"]
        ),
        (&json!("changePriority"), &json!(9), &json!(3), &json!(0))
    );
    for id in &ids {
        http.task_when(id, |task| task["priority"] == 9).await?;
    }
    assert_eq!(http.task(&other).await?["priority"], 5);
    // Changed since by hand, it is left as it is.
    assert_eq!(
        patch(&world, &ids[0], &json!({"priority": 2})).await?.0,
        200
    );

    let path = format!(
        "/v1/operations/{}/undo",
        done["id"].as_str().context("an id")?
    );
    let undo = http.send(Method::POST, &path, &[], "").await?;
    assert_eq!(undo.status, 201, "{}", undo.text());
    let undo = undo.json()["operation"]["id"].clone();
    let undone = over(http, undo.as_str().context("an id")?).await?;
    assert_eq!(
        (&undone["action"], &undone["undoes"], &undone["done"]),
        (&json!("undo"), &done["id"], &json!(2))
    );
    for (id, priority) in [(&ids[0], 2), (&ids[1], 5), (&ids[2], 5)] {
        http.task_when(id, |task| task["priority"] == priority)
            .await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_names_what_is_wrong_about_its_priority() -> Result<()> {
    let world = World::start().await?;
    for (request, field) in [
        (
            json!({"action": "changePriority", "filter": {}}),
            "priority",
        ),
        (
            json!({"action": "changePriority", "filter": {}, "priority": 0}),
            "priority",
        ),
        (
            json!({"action": "changePriority", "filter": {}, "priority": 11}),
            "priority",
        ),
        (
            json!({"action": "cancel", "filter": {}, "priority": 5}),
            "priority",
        ),
        (
            json!({"action": "changePriority", "priority": 5, "filter": {"status": "processing"}}),
            "filter.status",
        ),
    ] {
        for path in ["/v1/operations", "/v1/operations/preview"] {
            let refused = world.http.post(path, &request).await?;
            assert_eq!(refused.status, 400, "{path} {request}: {}", refused.text());
            assert_eq!(refused.json()["field"], field, "{path} {request}");
        }
    }
    let ended = world.http.create(&a_task()).await?;
    let parsed = TaskId::parse(&ended).expect("an id");
    owner::die(&world.log, &world.team, parsed, 500, "it broke").await?;
    world
        .http
        .task_when(&ended, |task| task["status"] == "failed")
        .await?;
    let about = json!({"action": "changePriority", "priority": 9, "ids": [ended]});
    let done = operation(&world, &about).await?;
    assert_eq!(
        (&done["done"], &done["refusals"][0]["code"]),
        (&json!(0), &json!("already_ended"))
    );
    world.stop().await
}
