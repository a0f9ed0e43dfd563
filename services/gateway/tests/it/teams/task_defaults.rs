//! What a team and its queues decide for tasks that say nothing themselves.

use anyhow::Result;
use serde_json::{Value, json};

use super::people::{Person, put, stored, world_with};
use crate::world::a_task;

#[tokio::test(flavor = "multi_thread")]
async fn a_team_decides_for_itself_and_for_each_queue() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "ours", "pro").await?;
    let path = format!("/teams/{team}/task-defaults");
    let usual = ann.http.get(&format!("/teams/{team}")).await?.json();
    let of_team = |answer: &Value| {
        let team = &answer["team"];
        json!([team["success"], team["retryOn"], team["queues"]])
    };
    assert_eq!(of_team(&usual), json!([null, null, {}]));
    let wanted = json!({
        "success": "2xx", "retryOn": ["5xx"],
        "queues": {"mail": {"success": "2xx,404"}, "jobs": {"retryOn": ["timeout"]}},
    });
    let set = put(&ann.http, &path, &wanted).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(
        of_team(&set.json()),
        json!(["2xx", ["5xx"], wanted["queues"]])
    );
    let before = stored(&world).await?;
    let same = put(
        &ann.http,
        &path,
        &json!({"queues": {"mail": {"success": "2xx,404"}}}),
    )
    .await?;
    assert_eq!(of_team(&same.json()), of_team(&set.json()));
    assert_eq!(stored(&world).await?, before, "nothing has changed");

    let keys = format!("/teams/{team}/apikeys");
    let key = ann.http.post(&keys, &json!({"name": "k"})).await?.json();
    let key = key["apiKey"]["key"].as_str().unwrap_or_default().to_owned();
    let http = world.http.with_key(&key);
    for (queue, success, retry_on) in [
        ("mail", "2xx,404", "5xx"),
        ("jobs", "2xx", "timeout"),
        ("other", "2xx", "5xx"),
    ] {
        let mut task = a_task();
        task["queue"] = json!(queue);
        let made = http.post("/v1/tasks", &task).await?.task();
        assert_eq!(
            (&made["success"], &made["retryOn"]),
            (&json!(success), &json!([retry_on])),
            "{queue}"
        );
    }
    let without = json!({"success": "", "retryOn": [], "queues": {"mail": null, "jobs": {}}});
    let without = put(&ann.http, &path, &without).await?;
    assert_eq!(of_team(&without.json()), of_team(&usual));

    for (body, field) in [
        (json!({"queues": {"a b": {"success": "2xx"}}}), "queues"),
        (json!({"queues": {"mail": {"success": "all"}}}), "queues"),
        (json!({"retryOn": ["sometimes"]}), "retryOn"),
        (json!({"queues": {"mail": {"succes": "2xx"}}}), "succes"),
    ] {
        let refused = put(&ann.http, &path, &body).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some(field)),
            "{body}: {}",
            refused.text()
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_decides_when_its_webhooks_are_delivered_again() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "ours", "pro").await?;
    let path = format!("/teams/{team}/task-defaults");
    let shown = async || -> Result<Value> {
        let answer = ann.http.get(&format!("/teams/{team}")).await?;
        Ok(answer.json()["team"]["webhookRetrySeconds"].clone())
    };
    let usual = shown().await?;
    let set = put(&ann.http, &path, &json!({"webhookRetrySeconds": [1, 2]})).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    assert_eq!(set.json()["team"]["webhookRetrySeconds"], json!([1, 2]));
    assert_eq!(shown().await?, json!([1, 2]));
    let before = stored(&world).await?;
    for wrong in [
        json!([0]),
        json!([60; 21].to_vec()),
        json!([259_201]),
        json!(["1"]),
    ] {
        let body = json!({"webhookRetrySeconds": wrong});
        let refused = put(&ann.http, &path, &body).await?;
        let field = refused.json()["field"].clone();
        let field = field.as_str().unwrap_or_default();
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(field.starts_with("webhookRetrySeconds"), "{body}: {field}");
    }
    assert_eq!(stored(&world).await?, before, "nothing has changed");
    assert_eq!(shown().await?, json!([1, 2]));
    let reset = put(&ann.http, &path, &json!({"webhookRetrySeconds": []})).await?;
    assert_eq!(reset.status, 200, "{}", reset.text());
    assert_eq!(shown().await?, usual);
    world.stop().await
}
