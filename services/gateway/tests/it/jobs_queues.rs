//! The configuration of queues through the jobs API.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_testkit::http::{Answer, Http};

use crate::world::World;

async fn put(http: &Http, queue: &str, body: &Value) -> Result<Answer> {
    let path = format!("/api/v1/queues/{queue}/config");
    http.send(Method::PUT, &path, &[], body.to_string()).await
}

async fn get(http: &Http, path: &str) -> Result<Answer> {
    http.get(&format!("/api/v1{path}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_of_a_queue_is_changed_and_holds_for_later_jobs() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    assert_eq!(get(http, "/queues/mail").await?.status, 404);
    let first = json!({"queue_name": "other", "max_retries": 5, "default_timeout": 60, "rate_limit": 120,
        "settings": {"owner": {"b": 1, "a": 2}, "backoff_base_seconds": 2}});
    let set = put(http, "mail", &first).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let set = set.json();
    for (member, expected) in [
        ("queue_name", json!("mail")),
        ("max_retries", json!(5)),
        ("default_timeout", json!(60)),
        ("rate_limit", json!(120)),
        ("enabled", json!(true)),
        ("settings", first["settings"].clone()),
    ] {
        assert_eq!(set[member], expected, "{member}: {set}");
    }
    let more = json!({"enabled": false, "settings": {"owner": null, "x": []}});
    let merged = put(http, "mail", &more).await?.json();
    assert_eq!(
        merged["settings"],
        json!({"backoff_base_seconds": 2, "x": []})
    );
    assert_eq!(
        (&merged["enabled"], &merged["max_retries"], &merged["id"]),
        (&json!(false), &json!(5), &set["id"])
    );
    assert_eq!(merged["created_at"], set["created_at"]);
    assert_eq!(get(http, "/queues/mail").await?.json(), merged);

    let job = json!({"queue_name": "mail", "payload": 1});
    let made = http.post("/api/v1/jobs", &job).await?.json();
    let id = made["id"].as_str().unwrap_or_default().to_owned();
    let seen = get(http, &format!("/jobs/{id}")).await?.json();
    assert_eq!(
        (&seen["max_retries"], &seen["timeout_seconds"]),
        (&json!(5), &json!(60))
    );
    // The native API has the same queue, and leaves what it does not know.
    let native = http.get("/v1/queues/mail").await?.json();
    assert_eq!(native["queue"]["rate"]["limit"], 120, "{native}");
    let settings = json!({"concurrency": 3}).to_string();
    let replaced = http.send(Method::PUT, "/v1/queues/mail", &[], settings);
    assert_eq!(replaced.await?.status, 200);
    let seen = get(http, "/queues/mail").await?.json();
    assert_eq!(
        (&seen["default_timeout"], &seen["rate_limit"]),
        (&json!(60), &Value::Null)
    );

    for (member, value) in [
        ("max_retries", json!(101)),
        ("default_timeout", json!(0)),
        ("rate_limit", json!(0)),
        ("settings", json!([])),
        ("settings", json!({"backoff_multiplier": 0})),
        ("settings", json!({"x": "y".repeat(16_384)})),
    ] {
        let wrong = put(http, "mail", &json!({member: value})).await?;
        let field = &wrong.json()["details"][0]["field"];
        assert_eq!(
            (wrong.status.as_u16(), field),
            (400, &json!(member)),
            "{}",
            wrong.text()
        );
    }

    let delete = async |query: &str| {
        let path = format!("/api/v1/queues/mail{query}");
        http.send(Method::DELETE, &path, &[], "").await
    };
    assert_eq!(delete("").await?.status, 409, "it has a job");
    assert_eq!(delete("?delete_jobs=true").await?.status, 400);
    // One without jobs exists by its settings alone.
    assert_eq!(
        put(http, "bare", &json!({"max_retries": 1})).await?.status,
        200
    );
    let gone = http.send(Method::DELETE, "/api/v1/queues/bare", &[], "");
    assert_eq!(gone.await?.status, 204);
    assert_eq!(get(http, "/queues/bare").await?.status, 404);
    let (_, stranger) = world.stranger().await?;
    assert_eq!(get(&stranger, "/queues/mail").await?.status, 404);
    world.stop().await
}
