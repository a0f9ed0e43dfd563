//! Running a task before its time.

use anyhow::Result;
use serde_json::{Value, json};
use waybill_domain::id::TaskId;

use crate::owner::{self, Owner, Says};
use crate::world::{World, a_task};

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_task_becomes_pending_and_others_say_why_not() -> Result<()> {
    let world = World::start().await?;
    let made = world.http.post("/v1/tasks", &a_task()).await?.task();
    let path = format!("/v1/tasks/{}/run-now", made["id"].as_str().expect("an id"));
    let busy = Owner::start(&world.log, Says::Running).await?;
    let refused = world.http.post(&path, &json!({})).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code()),
        (409, "already_running".into())
    );
    drop(busy);
    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let moved = world.http.post(&path, &json!({})).await?;
    assert_eq!(moved.status, 200, "{}", moved.error());
    assert_eq!(
        (&moved.task()["status"], &moved.task()["delayUntil"]),
        (&json!("pending"), &made["delayUntil"])
    );
    let list = world.http.get("/v1/tasks?status=pending").await?.json();
    assert_eq!(list["tasks"][0]["id"], made["id"], "also by its index");

    let text = made["id"].as_str().expect("an id");
    let id = TaskId::parse(text).expect("an id");
    owner::die(&world.log, &world.team, id, 500, "it broke").await?;
    let ends = |task: &Value| task["status"] == "failed";
    world.http.task_when(text, ends).await?;
    let ended = world.http.post(&path, &json!({})).await?;
    assert_eq!(
        (ended.status.as_u16(), ended.code()),
        (409, "already_ended".into())
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_a_task_of_the_team() -> Result<()> {
    let world = World::start().await?;
    let made = world.http.post("/v1/tasks", &a_task()).await?.task();
    let path = format!("/v1/tasks/{}/run-now", made["id"].as_str().expect("an id"));
    let (_, stranger) = world.stranger().await?;
    assert_eq!(stranger.post(&path, &json!({})).await?.status, 403);
    let unknown = format!("{}/run-now", "/v1/tasks/task_0000000000000000000000000000");
    assert_eq!(world.http.post(&unknown, &json!({})).await?.status, 404);
    world.stop().await
}
