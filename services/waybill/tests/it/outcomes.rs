//! What a task may say of itself, and what becomes of it: seen by its client, its target and the receiver of its webhook.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use waybill_sink::{Received, Sink, SinkOptions};

use crate::installation::Installation;

/// The body of the webhook that said how a task ended.
fn told(received: &[Received], id: &str) -> Option<Value> {
    received
        .iter()
        .filter(|request| request.path.starts_with("/hook"))
        .filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok())
        .find(|message| message["task"]["id"] == id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_says_whether_it_is_a_success() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str, success: Value| {
        json!({
            "targetUrl": sink.url(path), "success": success, "maxRetries": 0,
            "tags": ["invoices"], "metadata": {"order": "17"}, "onCompleteUrl": sink.url("/hook"),
        })
    };
    for (path, success, status, ok, reason) in [
        ("/status/200", Value::Null, "completed", true, "completed"),
        ("/status/404", Value::Null, "completed", false, "completed"),
        (
            "/status/404",
            json!("2xx,404"),
            "completed",
            true,
            "completed",
        ),
        ("/status/404", json!("2xx"), "failed", false, "dead"),
        ("/status/200", json!("201"), "failed", false, "dead"),
        ("/status/500", json!("500"), "completed", true, "completed"),
    ] {
        let id = http.create(&task(path, success.clone())).await?;
        let done = http.task_when(&id, |task| task["ok"].is_boolean()).await?;
        let said = (&done["status"], &done["ok"], &done["endReason"]);
        assert_eq!(
            said,
            (&json!(status), &json!(ok), &json!(reason)),
            "{path} {success}"
        );
        assert_eq!(done["result"]["ok"], ok, "{done}");
        assert_eq!(done["tags"], json!(["invoices"]));
        assert_eq!(done["metadata"], json!({"order": "17"}));
        http.task_when(&id, |task| task["webhook"]["status"] == "delivered")
            .await?;
        let message = told(&sink.received(), &id).context("told")?;
        let told = &message["task"];
        assert_eq!(
            (&told["ok"], &told["endReason"]),
            (&json!(ok), &json!(reason))
        );
        assert_eq!(
            (&told["tags"], &told["metadata"]),
            (&done["tags"], &done["metadata"])
        );
    }
    let failed = http.get("/v1/tasks?ok=false&tag=invoices").await?.json();
    assert_eq!(
        failed["tasks"].as_array().map(Vec::len),
        Some(3),
        "{failed}"
    );
    let several = http.get("/v1/tasks?status=failed,timeout").await?.json();
    assert_eq!(
        several["tasks"].as_array().map(Vec::len),
        Some(2),
        "{several}"
    );
    assert_eq!(http.get("/v1/tasks?ok=maybe").await?.status, 400);
    for (ok, ends) in [(false, 3), (true, 3)] {
        let mut stream = http
            .events(&format!("/v1/events?after=0&ok={ok}"), None)
            .await?;
        for _ in 0..ends {
            let end = stream.next().await?.context("an end")?;
            assert_eq!(end.data["ok"], ok, "{end:?}");
        }
    }
    for path in ["/v1/events?ok=maybe", "/v1/events?ok=true&type=task.dead"] {
        let refused = http.get(path).await?;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["field"]),
            (400, &json!("ok")),
            "{path}"
        );
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_text_or_bytes() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let url = sink.url("/it?name='O%27Hara'");
    for (given, sent, kind) in [
        (
            json!({"json": {"a": [1, null]}}),
            &b"{\"a\":[1,null]}"[..],
            Some("application/json"),
        ),
        (
            json!({"body": "/wD+", "bodyEncoding": "base64"}),
            &[0xff, 0x00, 0xfe][..],
            None,
        ),
        (json!({"body": "plain"}), b"plain", None),
        // It begins like JSON, and is none.
        (json!({"body": "[ERROR] x"}), b"[ERROR] x", None),
        (json!({"method": "POST"}), b"", None),
    ] {
        let mut task = given.clone();
        task["targetUrl"] = json!(url);
        let id = http.create(&task).await?;
        let done = http.completed(&id).await?;
        assert_eq!(done["ok"], true, "{done}");
        assert_eq!(done["bodyEncoding"], given["bodyEncoding"], "{given}");
        let received = sink.received();
        let call = received.last().context("a call")?;
        assert_eq!(&*call.body, sent, "{given}");
        assert_eq!(
            call.headers
                .get("content-type")
                .map(http::HeaderValue::as_bytes),
            kind.map(str::as_bytes)
        );
        assert_eq!(call.path, "/it?name='O%27Hara'", "as it was given");
        let length = sent.len().to_string();
        assert_eq!(call.header("content-length"), Some(length.as_str()));
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_given_up_is_sent_again_when_somebody_asks() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let open = http
        .create(&json!({"targetUrl": sink.url("/"), "delay": "1h"}))
        .await?;
    let path = |id: &str| format!("/v1/tasks/{id}/webhook/redeliver");
    let refused = http.post(&path(&open), &json!({})).await?;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (http::StatusCode::CONFLICT, json!("not_ended"))
    );
    let silent = http.create(&json!({"targetUrl": sink.url("/")})).await?;
    http.completed(&silent).await?;
    let refused = http.post(&path(&silent), &json!({})).await?;
    assert_eq!(
        (refused.status, refused.json()["code"].clone()),
        (http::StatusCode::CONFLICT, json!("no_webhook"))
    );
    // A receiver that wants nothing more, until somebody has mended it.
    let task = json!({"targetUrl": sink.url("/status/201"), "body": "b", "onCompleteUrl": sink.url("/hook/script/410,200")});
    let id = http.create(&task).await?;
    http.task_when(&id, |task| task["webhook"]["status"] == "given_up")
        .await?;
    let again = http.post(&path(&id), &json!({})).await?;
    assert_eq!(again.status, 200, "{}", again.text());
    let done = http
        .task_when(&id, |task| task["webhook"]["status"] == "delivered")
        .await?;
    assert_eq!(
        (&done["status"], &done["body"]),
        (&json!("completed"), &json!("b")),
        "{done}"
    );
    assert_eq!(
        done["attempts"].as_array().map(Vec::len),
        Some(1),
        "its past stays"
    );
    let messages: Vec<_> = sink
        .received()
        .into_iter()
        .filter(|request| request.path.starts_with("/hook"))
        .collect();
    let ids: Vec<_> = messages
        .iter()
        .map(|m| m.headers.get("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1], "a receiver knows it again");
    assert_eq!(messages[0].body, messages[1].body);
    up.interrupt().await?;
    Ok(())
}

/// How much of an answer is kept is a matter of the team's plan; lists leave large ones out, and single reads show them.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_is_kept_as_far_as_the_plan_goes() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let any = http.create(&json!({"targetUrl": sink.url("/")})).await?;
    let team = http.completed(&any).await?["teamId"].clone();
    let team = team.as_str().context("a team")?;
    for (plan, kept) in [("pro", 262_144), ("enterprise", 700_000)] {
        let data = installation.data();
        let data = data.to_str().context("a path")?;
        let moved = [
            "teams", "plan", "--team", team, "--plan", plan, "--data", data,
        ];
        installation.run(&moved).await?.succeeded();
        // The gateway reads of it a moment later. One request waits for the end: the plan counts those that ask again and again.
        let mut id = String::new();
        waybill_testkit::eventually(std::time::Duration::from_secs(20), async || {
            let task = json!({
                "targetUrl": sink.url("/big/700000"), "queue": plan, "onCompleteUrl": sink.url(&format!("/hook/{plan}")),
            });
            let Ok(made) = http.create(&task).await else {
                return false;
            };
            id = made;
            let end = format!("/v1/tasks/{id}?wait=25&for=end");
            let ended = http.get(&end).await.map(|ended| ended.task());
            ended.is_ok_and(|task| task["result"]["body"].as_str().map(str::len) == Some(kept))
        })
        .await
        .with_context(|| format!("{plan} keeps {kept}"))?;
        let read = http.get(&format!("/v1/tasks/{id}/result")).await?.json();
        assert_eq!(read["result"]["bodyBytes"], 700_000);
        assert_eq!(
            read["truncated"],
            if kept == 700_000 {
                Value::Null
            } else {
                json!(["result.body"])
            },
            "{plan}"
        );
        let raw = http.get(&format!("/v1/tasks/{id}/result?raw=true")).await?;
        assert_eq!(raw.body.len(), kept);
        let listed = http.get(&format!("/v1/tasks?queue={plan}")).await?.json();
        let row = &listed["tasks"][0];
        assert_eq!(row["result"]["body"], Value::Null);
        assert_eq!(row["truncated"], json!(["result.headers", "result.body"]));
        assert_eq!(row["headers"], json!({}), "the rest is there");
        waybill_testkit::eventually(std::time::Duration::from_secs(20), async || {
            sink.received()
                .iter()
                .any(|hook| hook.path == format!("/hook/{plan}") && hook.body_bytes > kept as u64)
        })
        .await
        .context("the webhook carries it")?;
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_attempt_is_cut_off_when_its_task_is_cancelled() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let id = http
        .create(&json!({"targetUrl": sink.url("/hang"), "maxRetries": 3}))
        .await?;
    // The target has it, and will not answer.
    http.task_when(&id, |task| task["status"] == "processing")
        .await?;
    waybill_testkit::eventually(std::time::Duration::from_secs(20), async || {
        !sink.received().is_empty()
    })
    .await?;
    let end = format!("/v1/tasks/{id}?wait=25&for=end");
    let waiting = tokio::spawn({
        let http = http.clone();
        async move { http.get(&end).await }
    });
    let cancel = format!("/v1/tasks/{id}/cancel");
    let requested = http.post(&cancel, &json!({})).await?;
    assert_eq!(requested.status, 200, "{}", requested.text());
    let task = requested.task();
    assert!(
        task["cancelRequested"] == true || task["status"] == "cancelled",
        "{task}"
    );
    let ended = waiting.await??.task();
    assert_eq!(
        (&ended["status"], &ended["endReason"], &ended["ok"]),
        (&json!("cancelled"), &json!("cancelled"), &json!(false))
    );
    let said = ended["error"].as_str().context("a sentence")?;
    assert!(said.contains("may or may not"), "{said}");
    assert_eq!(ended["attempts"].as_array().map(Vec::len), Some(1));
    let again = http.post(&cancel, &json!({})).await?;
    assert_eq!(again.status, 409, "{}", again.text());
    assert_eq!(sink.received().len(), 1, "it is not called again");
    up.interrupt().await?;
    Ok(())
}

/// Whoever joins late can still tell whose event it is: the gateway has seen the creation of none of them.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_carries_the_labels_of_its_task_wherever_a_stream_begins() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let mut ids = Vec::new();
    for order in ["17", "18"] {
        // Pauses of its own, which are real: one before each of two retries.
        let task = json!({
            "targetUrl": sink.url("/?fail=2"), "retryBackoff": ["1s", "1s"],
            "tags": ["invoices"], "metadata": {"order": order}, "onCompleteUrl": sink.url("/hook"),
        });
        ids.push(http.create(&task).await?);
    }
    for id in &ids {
        let done = http
            .task_when(id, |task| task["status"] == "completed")
            .await?;
        assert_eq!(done["retryBackoff"], json!([1, 1]));
        assert_eq!(done["attempts"].as_array().map(Vec::len), Some(3));
        http.task_when(id, |task| task["webhook"]["status"] == "delivered")
            .await?;
    }
    // A task's stream from its first event tells where its middle is.
    let path = format!("/v1/tasks/{}/events?after=0", ids[0]);
    let mut whole = http.events(&path, None).await?;
    let mut seen = Vec::new();
    while let Some(event) = whole.next().await? {
        seen.push(event);
    }
    let begun = seen.iter().find(|event| event.name == "task.started");
    let begun = begun.context("an attempt")?.id.clone();
    // On another gateway process: this one knows the labels by now.
    up.interrupt().await?.succeeded();
    let up = installation.up().await?;
    let http = up.http(&key);
    let mut resumed = http.events("/v1/events", Some(&begun)).await?;
    let mut ends = 0;
    while ends < 2 {
        let event = resumed.next().await?.context("more to come")?;
        let order = match event.data["taskId"].as_str() {
            Some(id) if id == ids[0] => "17",
            _ => "18",
        };
        assert_eq!(
            (&event.data["tags"], &event.data["metadata"]),
            (&json!(["invoices"]), &json!({"order": order})),
            "{event:?}"
        );
        ends += u32::from(event.name == "task.callback_sent");
    }
    drop(resumed);
    up.interrupt().await?.succeeded();
    Ok(())
}
