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
    // In lists as well, of all of them by one question.
    let page = http.get("/v1/tasks?status=pending,delayed").await?.json();
    assert_eq!(page.get("warnings"), None, "{page}");
    let of = |id: &str| {
        let tasks = page["tasks"].as_array().expect("tasks").iter();
        let task = tasks.clone().find(|task| task["id"] == id);
        task.expect("it waits")["blockedBy"].clone()
    };
    assert_eq!(of(&second), explained["blockedBy"]);
    assert_eq!(of(&first)["kind"], "not_due");
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
    let done = http
        .task_when(&second, |task| task["status"] == "completed")
        .await?;
    let explained = http.get(&format!("/v1/tasks/{second}/explain")).await?;
    let explained = explained.json()["explanation"].clone();
    assert_eq!(explained["blockedBy"], Value::Null);
    // What it waited for is told afterwards, too.
    let behind = &explained["intervals"][0];
    assert_eq!(behind["kind"], "waited", "{explained}");
    assert_eq!(behind["blockedBy"]["kind"], "order", "{explained}");
    assert_eq!(behind["from"], done["createdAt"], "{explained}");

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
            json!({"orderingKey": "a", "onFailure": "stop"}),
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

#[tokio::test(flavor = "multi_thread")]
async fn of_a_singleton_one_task_runs_at_a_time() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str, mode: &str| {
        json!({
            "targetUrl": sink.url(path), "maxRetries": 0, "singleton": {"key": "job", "mode": mode},
        })
    };
    let first = http.create(&task("/delay/20s", "queue")).await?;
    http.task_when(&first, |task| task["status"] == "processing")
        .await?;
    let waits = http.create(&task("/", "queue")).await?;
    let explained = http
        .get(&format!("/v1/tasks/{waits}/explain"))
        .await?
        .json();
    let explained = &explained["explanation"];
    assert_eq!(explained["blockedBy"]["kind"], "singleton");
    assert_eq!(explained["blockedBy"]["taskId"], json!(first));
    assert_eq!(explained["aheadOfYou"], 1);
    let skipped = http.create(&task("/", "skip")).await?;
    let gone = http
        .task_when(&skipped, |task| task["status"] == "cancelled")
        .await?;
    assert_eq!(gone["endReason"], "skipped");
    assert_eq!(gone["skippedFor"], json!(first));
    assert_eq!(gone["supersededBy"], Value::Null);
    assert_eq!(gone["startedAt"], Value::Null);

    // A newer one takes the place of what runs and of what waits.
    let new = http.create(&task("/", "cancelRunning")).await?;
    let done = http
        .task_when(&new, |task| task["status"] == "completed")
        .await?;
    assert_eq!(done["singleton"]["mode"], "cancelRunning");
    for id in [&first, &waits] {
        let gone = http
            .task_when(id, |task| task["status"] == "cancelled")
            .await?;
        assert_eq!(gone["endReason"], "superseded");
        assert_eq!(gone["supersededBy"], json!(new));
    }
    for (given, field) in [
        (json!({"singleton": {}}), "singleton.key"),
        (
            json!({"singleton": {"key": "a", "mode": "wait"}}),
            "singleton.mode",
        ),
        (
            json!({"singleton": {"key": "a"}, "orderingKey": "a"}),
            "singleton",
        ),
        (json!({"skippedFor": "task_1"}), "skippedFor"),
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
async fn a_duplicate_ends_without_a_call_and_names_the_first() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str, dedup: Value| json!({"targetUrl": sink.url(path), "maxRetries": 0, "dedup": dedup});
    let keyed = |older: &str| json!({"key": "event", "window": "1h", "onDuplicate": older});
    let first = http.create(&task("/", keyed("existing"))).await?;
    let done = http
        .task_when(&first, |task| task["status"] == "completed")
        .await?;
    assert_eq!(done["dedup"]["window"], 3_600);
    assert_eq!(done["dedup"]["ifFailed"], "new");
    // One by one and in a batch, and also where it could be replaced had it not started.
    let batch = json!({"tasks": [task("/", keyed("existing"))]});
    let made = http.post("/v1/tasks/batch", &batch).await?.json();
    let batched = made["results"][0]["task"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let replacing = http
        .create(&task("/", keyed("replaceIfNotStarted")))
        .await?;
    for id in [&batched, &replacing] {
        let gone = http
            .task_when(id, |task| task["status"] == "cancelled")
            .await?;
        assert_eq!(gone["endReason"], "duplicate");
        assert_eq!(gone["duplicateOf"], json!(first));
        assert_eq!(gone["startedAt"], Value::Null);
    }
    let content = || json!({"content": true, "window": "1h"});
    let failed = http.create(&task("/status/500", content())).await?;
    http.task_when(&failed, |task| task["status"] == "failed")
        .await?;
    let again = http.create(&task("/status/500", content())).await?;
    http.task_when(&again, |task| task["status"] == "failed")
        .await?;
    for (given, field) in [
        (json!({"window": "1h"}), "dedup.key"),
        (json!({"key": "a"}), "dedup.window"),
        (
            json!({"key": "a", "window": "1h", "onDuplicate": "refuse"}),
            "dedup.onDuplicate",
        ),
    ] {
        let refused = http.post("/v1/tasks", &task("/", given.clone())).await?;
        assert_eq!(refused.status, 400, "{given}");
        assert_eq!(refused.json()["field"], field, "{given}");
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_that_is_to_be_rejected_is_refused_with_the_id_of_the_first() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |event: &str| {
        let dedup = json!({"key": event, "window": "1h", "onDuplicate": "reject"});
        json!({"targetUrl": sink.url("/"), "delay": "1h", "dedup": dedup})
    };
    let first = http.create(&task("a")).await?;
    let refused = http.post("/v1/tasks", &task("a")).await?;
    assert_eq!(refused.status, 409, "{}", refused.error());
    assert_eq!(refused.json()["code"], "duplicate_task");
    assert_eq!(refused.json()["taskId"], json!(first));
    // Of many at once, one is accepted.
    let tasks: Vec<_> = (0..8).map(|_| task("b")).collect();
    let asked = tasks
        .iter()
        .map(async |task| http.post("/v1/tasks", task).await);
    let answers = futures::future::try_join_all(asked).await?;
    let of = |status: u16| answers.iter().filter(move |answer| answer.status == status);
    assert_eq!((of(201).count(), of(409).count()), (1, 7));
    let accepted = of(201).next().expect("one").json()["task"]["id"].clone();
    assert!(of(409).all(|answer| answer.json()["taskId"] == accepted));
    // A batch is answered before that is known.
    let batch = json!({"tasks": [task("a")]});
    let made = http.post("/v1/tasks/batch", &batch).await?.json();
    let batched = made["results"][0]["task"]["id"].as_str().expect("an id");
    let gone = http
        .task_when(batched, |task| task["status"] == "cancelled")
        .await?;
    assert_eq!(gone["duplicateOf"], json!(first));
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_drains_until_what_runs_has_ended_and_starts_nothing_else() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = json!({"targetUrl": sink.url("/delay/1500ms"), "queue": "mail"});
    let running = http.create(&task).await?;
    http.task_when(&running, |task| task["status"] == "processing")
        .await?;
    let asked = http
        .post("/v1/queues/mail/drain", &json!({"reason": "moving"}))
        .await?;
    assert_eq!(asked.status, 200, "{}", asked.error());
    let asked = asked.json()["queue"].clone();
    assert_eq!(
        (&asked["state"], &asked["counts"]["processing"]),
        (&json!("draining"), &json!(1))
    );
    let behind = http.create(&task).await?;
    let drained = http
        .post(
            "/v1/queues/mail/drain?wait=20",
            &json!({"reason": "moving"}),
        )
        .await?;
    let drained = drained.json()["queue"].clone();
    assert_eq!(
        (&drained["state"], &drained["counts"]["completed"]),
        (&json!("drained"), &json!(1))
    );
    let held = http.task(&behind).await?;
    assert_eq!(
        (&held["status"], &held["blockedBy"]["kind"]),
        (&json!("pending"), &json!("queue_paused"))
    );
    let told = http.get("/v1/queues/mail").await?.json();
    assert_eq!(told["queue"]["state"], "drained");
    assert_eq!(told["queue"]["pause"]["reason"], "moving");
    http.post("/v1/queues/mail/resume", &json!({})).await?;
    http.completed(&behind).await?;
    let figures = http.get("/v1/stats?window=1h&queue=mail").await?.json();
    let mail = &figures["queues"][0];
    assert_eq!(
        (&mail["accepted"], &mail["ended"]["completed"]),
        (&json!(2), &json!(2))
    );
    let total = mail["total"]["p50"].as_f64().expect("a length");
    assert!(total >= 1.4, "{mail}");
    up.interrupt().await?;
    Ok(())
}
