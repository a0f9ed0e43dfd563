//! Listeners of the test environment, from outside.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::http::{Answer, Http};

use crate::installation::Installation;

async fn send(http: &Http, method: Method, path: &str, body: &Value) -> Result<Answer> {
    http.send(method, path, &[], body.to_string()).await
}

/// A key of the test environment.
async fn key_of_test(installation: &mut Installation) -> Result<String> {
    let make = ["keys", "create", "--name", "test", "--environment", "test"];
    let made = installation.run(&make).await?.succeeded();
    // It is printed this once, which is what the command is for.
    Ok(made.stdout.trim().to_owned())
}

async fn waits_for_a_listener(http: &Http, id: &str) -> Result<()> {
    let give_up = Instant::now() + Duration::from_secs(10);
    loop {
        let told = http.get(&format!("/v1/tasks/{id}/explain")).await?.json();
        if told["explanation"]["blockedBy"]["kind"] == "waiting_for_listener" {
            return Ok(());
        }
        ensure!(Instant::now() < give_up, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_the_test_environment_wait_while_nobody_listens() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let live = up.http(&key);
    let test_key = key_of_test(&mut installation).await?;
    let http = up.http(&test_key);
    let host = sink.url("/").replace("http://", "").replace('/', "");

    // By queue, pulled and called, and by host.
    let asked = json!({"queues": ["images"], "hosts": [host], "leaseSeconds": 60});
    let opened = http.post("/v1/listeners", &asked).await?;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let listener = opened.json()["listener"].clone();
    assert_eq!(listener["state"], "listening");
    let path = format!(
        "/v1/listeners/{}",
        listener["id"].as_str().unwrap_or_default()
    );
    let task = json!({"targetUrl": sink.url("/")});
    http.completed(&http.create(&task).await?).await?;

    let released = http.post(&format!("{path}/release"), &json!({})).await?;
    assert_eq!(released.status, 200, "{}", released.text());
    assert_eq!(released.json()["listener"]["state"], "released");
    let called = http.create(&task).await?;
    let pulled = http.create(&json!({"queue": "images"})).await?;
    for id in [&called, &pulled] {
        waits_for_a_listener(&http, id).await?;
    }
    let claim = json!({"queues": ["images"], "worker": "w"});
    let none = http.post("/v1/claims", &claim).await?.json();
    assert_eq!(none["claims"], json!([]));
    // Live tasks to the same host and queue do not wait.
    live.completed(&live.create(&task).await?).await?;

    let renewed = http.post(&format!("{path}/renew"), &json!({})).await?;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    http.completed(&called).await?;
    let waiting = json!({"queues": ["images"], "worker": "w", "wait": 10});
    let given = http.post("/v1/claims", &waiting).await?.json();
    assert_eq!(given["claims"][0]["taskId"], json!(pulled));

    // It outlives a restart, and who did it stands in the activity.
    http.post(&format!("{path}/release"), &json!({})).await?;
    up.interrupt().await?;
    let up = installation.up().await?;
    let (live, http) = (up.http(&key), up.http(&test_key));
    let called = http.create(&task).await?;
    waits_for_a_listener(&http, &called).await?;
    let listed = http.get("/v1/listeners").await?.json();
    assert_eq!(listed["listeners"][0]["id"], listener["id"]);
    assert_eq!(listed["listeners"][0]["openedBy"], listener["openedBy"]);

    // Without it, nothing waits.
    let removed = send(&http, Method::DELETE, &path, &json!({})).await?;
    assert_eq!(removed.status, 204, "{}", removed.text());
    http.completed(&called).await?;
    let gone = http.post(&format!("{path}/renew"), &json!({})).await?;
    assert_eq!(
        (gone.status.as_u16(), gone.error()),
        (404, "Listener not found".into())
    );
    let refused = live.post("/v1/listeners", &asked).await?;
    assert_eq!(refused.status, 400);
    assert!(
        refused.error().contains("test environment"),
        "{}",
        refused.error()
    );
    for (body, field) in [
        (json!({}), "queues"),
        (json!({"queues": ["a b"]}), "queues"),
        (json!({"hosts": ["http://a/"]}), "hosts"),
        (json!({"queues": ["a"], "leaseSeconds": 5}), "leaseSeconds"),
    ] {
        let refused = http.post("/v1/listeners", &body).await?;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["field"]),
            (400, &json!(field)),
            "{body}"
        );
    }
    up.interrupt().await?;
    Ok(())
}
