//! Workflows from outside: what runs after what, results that are handed on, cancelling, retrying, and a killed server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waybill_sink::{Plan, Sink, SinkOptions};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::installation::Installation;
use crate::process::PATIENCE;

async fn make(http: &Http, tasks: Value) -> Result<String> {
    let request = json!({"name": "From outside", "tasks": tasks});
    let made = http.post("/v1/workflows", &request).await?;
    ensure!(made.status == 201, "{}", made.text());
    let id = made.json()["workflow"]["id"].clone();
    Ok(id.as_str().context("an id")?.to_owned())
}

async fn read(http: &Http, id: &str) -> Result<Value> {
    let read = http.get(&format!("/v1/workflows/{id}")).await?;
    ensure!(read.status == 200, "{}", read.text());
    Ok(read.json()["workflow"].clone())
}

/// The workflow, once it stands like this.
async fn when(http: &Http, id: &str, status: &str) -> Result<Value> {
    let is_so = async || {
        read(http, id)
            .await
            .is_ok_and(|flow| flow["status"] == status)
    };
    let waited = eventually(PATIENCE, is_so).await;
    let flow = read(http, id).await?;
    waited.with_context(|| format!("{status}: {flow:#}"))?;
    Ok(flow)
}

fn task<'a>(flow: &'a Value, name: &str) -> &'a Value {
    let mut tasks = flow["tasks"].as_array().into_iter().flatten();
    let found = tasks.find(|task| task["name"] == name);
    found.unwrap_or(&Value::Null)
}

/// A target that answers 503 until it is opened.
async fn gated() -> Result<(Sink, Arc<AtomicBool>)> {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let options = SinkOptions {
        script: Some(Arc::new(move |received| {
            let closed = received.path.starts_with("/gate") && !gate.load(Ordering::Acquire);
            closed.then(|| Plan {
                status: http::StatusCode::from_u16(503).ok(),
                ..Plan::default()
            })
        })),
        ..SinkOptions::default()
    };
    Ok((
        Sink::start(([127, 0, 0, 1], 0).into(), options).await?,
        open,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_goes_on_with_its_workflows_and_hands_results_on() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let (sink, open) = gated().await?;
    let up = installation.up().await?;
    let client = up.http(&key);
    let id = make(&client, json!([
        {"name": "last", "runAfter": ["work", "gate"], "task": {
            "targetUrl": sink.url("/last/{{tasks.work.result.body.id}}"),
            "json": {"all": "{{tasks.work.result.body}}", "text": "is {{tasks.work.result.body.n}}"},
        }},
        {"name": "work", "runAfter": ["first"], "task": {"tags": ["{{not a place}}"], "body": "{{tasks.first.result.body.n}}"}},
        {"name": "gate", "runAfter": ["first"], "task": {
            "targetUrl": sink.url("/gate"), "retryBackoff": "fixed", "maxRetries": 10, "success": "2xx",
        }},
        {"name": "first", "task": {"targetUrl": sink.url("/echo"), "json": {"n": 7}}},
    ]))
    .await?;
    let claim = json!({"queues": ["default"], "wait": 20, "worker": "w", "leaseSeconds": 60});
    let claimed = client.post("/v1/claims", &claim).await?.json();
    let work = &claimed["claims"][0];
    assert_eq!(work["body"], "7", "{claimed}");
    let path = format!(
        "/v1/claims/{}/complete",
        work["id"].as_str().context("an id")?
    );
    let result = json!({"result": {"id": "a/b", "n": [1, null]}});
    let completed = client.post(&path, &result).await?;
    ensure!(completed.status == 200, "{}", completed.text());
    let flow = when(&client, &id, "running").await?;
    let last = task(&flow, "last")["taskId"].as_str().context("an id")?;
    let waits = client
        .task_when(last, |task| task["blockedBy"]["kind"] == "predecessors")
        .await?;
    assert_eq!(waits["blockedBy"]["taskId"], task(&flow, "gate")["taskId"]);
    assert_eq!(waits["workflow"]["id"], json!(id));
    up.kill().await?;
    open.store(true, Ordering::Release);
    let up = installation.up().await?;
    let client = up.http(&key);
    let flow = when(&client, &id, "completed").await?;
    assert_eq!(flow["progress"]["completed"], 4);
    let received = sink.received();
    let last = received.iter().find(|one| one.path.starts_with("/last"));
    let last = last.context("the last call")?;
    assert_eq!(last.path, "/last/a%2Fb");
    let body: Value = serde_json::from_str(&last.text())?;
    assert_eq!(
        body,
        json!({"all": {"id": "a/b", "n": [1, null]}, "text": "is [1,null]"})
    );
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_retried_with_what_was_cancelled_because_of_it() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let (sink, open) = gated().await?;
    let up = installation.up().await?;
    let client = up.http(&key);
    let id = make(&client, json!([
        {"name": "before", "task": {"targetUrl": sink.url("/echo"), "json": {"n": 7}}},
        {"name": "gate", "runAfter": ["before"], "task": {"targetUrl": sink.url("/gate"), "maxRetries": 0}},
        {"name": "after", "runAfter": ["gate", "before"], "task": {
            "targetUrl": sink.url("/after"), "json": {"n": "{{tasks.before.result.body.n}}"},
        }},
        {"name": "missing", "runAfter": ["before"], "task": {
            "targetUrl": sink.url("/missing"), "json": {"n": "{{tasks.before.result.body.other}}"},
        }},
    ]))
    .await?;
    let flow = when(&client, &id, "failed").await?;
    assert_eq!(task(&flow, "after")["endReason"], "predecessor");
    let error = task(&flow, "after")["error"].as_str().context("an error")?;
    let gate = task(&flow, "gate")["taskId"].as_str().context("an id")?;
    assert!(error.contains(gate), "{error}");
    let error = task(&flow, "missing")["error"]
        .as_str()
        .context("an error")?;
    assert!(
        error.contains("{{tasks.before.result.body.other}}"),
        "{error}"
    );
    let explained = client.get(&format!("/v1/tasks/{gate}")).await?;
    assert_eq!(explained.task()["workflow"]["name"], "gate");
    open.store(true, Ordering::Release);
    let retried = client
        .post(&format!("/v1/workflows/{id}/retry"), &json!({}))
        .await?;
    ensure!(retried.status == 200, "{}", retried.text());
    let flow = when(&client, &id, "failed").await?;
    assert_eq!(flow["retries"], 1);
    for (name, retry, status) in [
        ("before", 0, "completed"),
        ("gate", 1, "completed"),
        ("after", 1, "completed"),
        // Its result lacks the same member again.
        ("missing", 1, "failed"),
    ] {
        let task = task(&flow, name);
        assert_eq!(
            (&task["retry"], &task["status"]),
            (&json!(retry), &json!(status)),
            "{task}"
        );
    }
    let again = client
        .task(task(&flow, "gate")["taskId"].as_str().context("an id")?)
        .await?;
    assert_eq!(again["replayOf"], json!(gate));
    let received = sink.received();
    let after: Vec<_> = received.iter().filter(|one| one.path == "/after").collect();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].text(), r#"{"n":7}"#);
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_workflow_starts_nothing_more() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let (sink, _) = gated().await?;
    let up = installation.up().await?;
    let client = up.http(&key);
    let id = make(&client, json!([
        {"name": "done", "task": {"targetUrl": sink.url("/done")}},
        {"name": "hangs", "runAfter": ["done"], "task": {"targetUrl": sink.url("/hang")}},
        {"name": "waits", "runAfter": ["hangs"], "task": {"targetUrl": sink.url("/never")}},
        {"name": "last", "runAfter": ["waits", "done"], "task": {"targetUrl": sink.url("/never")}},
    ]))
    .await?;
    eventually(PATIENCE, async || {
        let flow = read(&client, &id).await;
        flow.is_ok_and(|flow| task(&flow, "hangs")["status"] == "processing")
    })
    .await?;
    let path = format!("/v1/workflows/{id}/cancel");
    let cancelled = client.post(&path, &json!({})).await?;
    ensure!(cancelled.status == 200, "{}", cancelled.text());
    let flow = when(&client, &id, "cancelled").await?;
    assert_eq!(flow["progress"]["completed"], 1);
    assert_eq!(flow["progress"]["cancelled"], 3);
    assert!(sink.received().iter().all(|one| one.path != "/never"));
    let again = client.post(&path, &json!({})).await?;
    assert_eq!(
        (again.status.as_u16(), again.code()),
        (409, "not_cancellable".into())
    );
    let retried = client
        .post(&format!("/v1/workflows/{id}/retry"), &json!({}))
        .await?;
    assert_eq!(
        (retried.status.as_u16(), retried.code()),
        (409, "conflict".into())
    );
    up.interrupt().await?;
    Ok(())
}
