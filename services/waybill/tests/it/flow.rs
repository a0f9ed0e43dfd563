//! Flow control from outside: order by key, and why a task waits.

use anyhow::Result;
use serde_json::{Value, json};
use waybill_sink::{Sink, SinkOptions};

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_an_ordering_key_run_one_after_the_other_and_say_why_they_wait() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str, key: &str| {
        json!({
            "targetUrl": sink.url(path), "orderingKey": key, "fairnessKey": "customer-1", "maxRetries": 0,
        })
    };
    // A batch stands in the log as it was sent, also where each task is stored by itself.
    let mut batch: Vec<Value> = (0..6).map(|_| task("/delay/50ms", "batch")).collect();
    for (place, task) in batch.iter_mut().enumerate() {
        task["idempotencyKey"] = json!(format!("place-{place}"));
    }
    let made = http
        .post("/v1/tasks/batch", &json!({"tasks": batch}))
        .await?;
    assert_eq!(made.status, 200, "{}", made.error());
    let made = made.json();
    let ids = made["results"].as_array().expect("results").iter();
    let ids: Vec<String> = ids
        .map(|result| result["task"]["id"].as_str().expect("an id").to_owned())
        .collect();
    let mut ended = String::new();
    for id in &ids {
        let done = http
            .task_when(id, |task| task["status"] == "completed")
            .await?;
        let time = |field: &str| done[field].as_str().expect("a time").to_owned();
        assert!(time("startedAt") >= ended, "{id} began before {ended}");
        ended = time("completedAt");
        assert_eq!(done["orderingKey"], "batch");
        assert_eq!(done["onFailure"], "skip");
        assert_eq!(done["fairnessKey"], "customer-1");
    }

    // A first one that is delayed holds the second, which says so.
    let mut later = task("/", "held");
    later["delay"] = json!("1h");
    let first = http.create(&later).await?;
    let second = http.create(&task("/", "held")).await?;
    let explained = http.get(&format!("/v1/tasks/{second}/explain")).await?;
    assert_eq!(explained.status, 200, "{}", explained.error());
    let explained = explained.json()["explanation"].clone();
    assert_eq!(explained["blockedBy"]["kind"], "order");
    assert_eq!(explained["blockedBy"]["taskId"], json!(first));
    assert_eq!(explained["aheadOfYou"], 1);
    assert_eq!(explained["intervals"][0]["kind"], "waited");
    let head = http
        .get(&format!("/v1/tasks/{first}/explain"))
        .await?
        .json();
    let head = &head["explanation"];
    assert_eq!(head["blockedBy"]["kind"], "not_due");
    assert_eq!(head["earliestStart"], head["blockedBy"]["until"]);
    assert_eq!(explained["earliestStart"], head["earliestStart"]);
    http.post(&format!("/v1/tasks/{first}/cancel"), &json!({}))
        .await?;
    http.task_when(&second, |task| task["status"] == "completed")
        .await?;
    let explained = http.get(&format!("/v1/tasks/{second}/explain")).await?;
    assert_eq!(explained.json()["explanation"]["blockedBy"], Value::Null);

    // A failure that cancels those behind it.
    let mut failing = task("/delay/500ms/status/500", "chain");
    failing["onFailure"] = json!("cancelRest");
    let failing = http.create(&failing).await?;
    let behind = http.create(&task("/", "chain")).await?;
    http.task_when(&failing, |task| task["status"] == "failed")
        .await?;
    let cancelled = http
        .task_when(&behind, |task| task["status"] == "cancelled")
        .await?;
    let error = cancelled["error"].as_str().unwrap_or_default();
    assert!(error.contains(&failing), "{error}");
    assert_eq!(cancelled["startedAt"], Value::Null);

    // What does not fit together is refused by name.
    for (given, field) in [
        (json!({"onFailure": "skip"}), "onFailure"),
        (
            json!({"orderingKey": "a", "onFailure": "block"}),
            "onFailure",
        ),
        (json!({"orderingKey": ""}), "orderingKey"),
        (json!({"fairnessKey": "x".repeat(129)}), "fairnessKey"),
    ] {
        let mut request = given;
        request["targetUrl"] = json!(sink.url("/"));
        let refused = http.post("/v1/tasks", &request).await?;
        assert_eq!(refused.status, 400, "{request}");
        assert_eq!(refused.json()["field"], field, "{request}");
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_window_one_task_runs_and_the_others_name_it() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |key: &str, mode: &str| {
        json!({
            "targetUrl": sink.url("/"),
            "debounce": {"key": key, "delay": "700ms", "maxDelay": "1h", "mode": mode},
        })
    };
    // One by one, in a batch, and with a key of idempotency: the same rule for all doors.
    let mut ids = Vec::new();
    ids.push(http.create(&task("a", "last")).await?);
    let batch = json!({"tasks": [task("a", "last"), task("a", "last")]});
    let made = http.post("/v1/tasks/batch", &batch).await?.json();
    for result in made["results"].as_array().expect("results") {
        ids.push(result["task"]["id"].as_str().expect("an id").to_owned());
    }
    let mut keyed = task("a", "last");
    keyed["idempotencyKey"] = json!("once");
    for _ in 0..2 {
        let made = http
            .post("/v1/tasks/batch", &json!({"tasks": [keyed]}))
            .await?
            .json();
        let id = made["results"][0]["task"]["id"].as_str().expect("an id");
        if ids.iter().all(|known| known != id) {
            ids.push(id.to_owned());
        }
    }
    assert_eq!(ids.len(), 4);
    let last = ids.pop().expect("four tasks");
    let done = http
        .task_when(&last, |task| task["status"] == "completed")
        .await?;
    assert_eq!(done["debounce"]["key"], "a");
    assert_eq!(done["debounce"]["delay"], 0.7);
    assert_eq!(done["supersededBy"], Value::Null);
    ids.push(last);
    for (id, next) in ids.iter().zip(&ids[1..]) {
        let gone = http
            .task_when(id, |task| task["status"] == "cancelled")
            .await?;
        assert_eq!(gone["endReason"], "superseded");
        assert_eq!(gone["supersededBy"], json!(next));
        assert_eq!(gone["startedAt"], Value::Null);
        let error = gone["error"].as_str().unwrap_or_default();
        assert!(error.contains(next), "{error}");
    }

    // The first one is left, and says until when it waits.
    let mut first = task("b", "first");
    first["debounce"]["delay"] = json!("1h");
    let first = http.create(&first).await?;
    let second = http.create(&task("b", "first")).await?;
    let gone = http
        .task_when(&second, |task| task["status"] == "cancelled")
        .await?;
    assert_eq!(gone["supersededBy"], json!(first));
    let explained = http
        .get(&format!("/v1/tasks/{first}/explain"))
        .await?
        .json();
    assert_eq!(explained["explanation"]["blockedBy"]["kind"], "debounce");
    assert!(explained["explanation"]["blockedBy"]["until"].is_string());
    // A replay runs by itself.
    let again = http
        .post(&format!("/v1/tasks/{second}/replay"), &json!({}))
        .await?;
    assert_eq!(again.status, 201, "{}", again.error());
    let again = again.json()["task"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    http.task_when(&again, |task| task["status"] == "completed")
        .await?;

    for (given, field) in [
        (json!({"debounce": {"delay": "5s"}}), "debounce.key"),
        (json!({"debounce": {"key": "a"}}), "debounce.delay"),
        (
            json!({"debounce": {"key": "a", "delay": "5s"}, "delay": "5s"}),
            "debounce",
        ),
        (json!({"supersededBy": "task_1"}), "supersededBy"),
    ] {
        let mut request = given;
        request["targetUrl"] = json!(sink.url("/"));
        let refused = http.post("/v1/tasks", &request).await?;
        assert_eq!(refused.status, 400, "{request}");
        assert_eq!(refused.json()["field"], field, "{request}");
    }
    up.interrupt().await?;
    Ok(())
}
