//! Workflows of the jobs API from outside: jobs that are let run, forsaken, done again and cancelled, with workers.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waybill_testkit::http::Http;

use crate::installation::Installation;
use crate::jobs::{claim, claim_one, create, done, job_when, report};

async fn get(http: &Http, path: &str) -> Result<Value> {
    let answer = http.get(&format!("/api/v1{path}")).await?;
    ensure!(answer.status == 200, "{path}: {}", answer.text());
    Ok(answer.json())
}

/// Makes a workflow; returns its id and those of its jobs.
async fn begin(http: &Http, jobs: &Value) -> Result<(String, Vec<String>)> {
    let body = json!({"name": "import", "jobs": jobs});
    let made = http.post("/api/v1/workflows", &body).await?;
    ensure!(made.status == 201, "{}", made.text());
    let made = made.json();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let jobs = made["job_ids"].as_array().context("jobs")?.iter();
    let jobs: Option<Vec<_>> = jobs.map(|job| text(&job["job_id"])).collect();
    let id = text(&made["workflow_id"]).context("an id")?;
    Ok((id, jobs.context("ids")?))
}

async fn complete(http: &Http, queue: &str, expected: &str) -> Result<()> {
    let held = claim_one(http, queue, "w").await?;
    assert_eq!(held["id"], json!(expected), "{held}");
    assert_eq!(
        report(http, &held, "complete", "w", json!({})).await?,
        done()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_workflow_run_after_each_other_fail_together_and_are_revived() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    in_turn(&http).await?;
    revived(&http).await?;
    cancelled(&http).await?;
    told(&http).await?;
    up.interrupt().await?;
    Ok(())
}

async fn in_turn(http: &Http) -> Result<()> {
    let jobs = json!([
        {"key": "last", "queue_name": "turn", "payload": 3, "depends_on": ["a", "b"], "priority": 100},
        {"key": "a", "queue_name": "turn", "payload": 1, "priority": 9},
        {"key": "b", "queue_name": "turn", "payload": 2}]);
    let (id, jobs) = begin(http, &jobs).await?;
    complete(http, "turn", &jobs[1]).await?;
    let waits = get(http, &format!("/jobs/{}", jobs[0])).await?;
    assert_eq!(
        (&waits["status"], &waits["dependencies_met"]),
        (&json!("pending"), &json!(false))
    );
    complete(http, "turn", &jobs[2]).await?;
    complete(http, "turn", &jobs[0]).await?;
    let seen = get(http, &format!("/workflows/{id}")).await?;
    assert_eq!(seen["status"], "completed", "{seen}");
    assert_eq!(seen["progress_percent"].as_f64(), Some(100.0));
    assert_ne!(seen["completed_at"], Value::Null);
    Ok(())
}

async fn revived(http: &Http) -> Result<()> {
    let jobs = json!([
        {"key": "first", "queue_name": "again", "payload": 1, "max_retries": 0},
        {"key": "second", "queue_name": "again", "payload": 2, "depends_on": ["first"]}]);
    let (id, jobs) = begin(http, &jobs).await?;
    let held = claim_one(http, "again", "w").await?;
    let broke = json!({"error": "it broke"});
    assert_eq!(report(http, &held, "fail", "w", broke).await?.0, 200);
    job_when(http, &jobs[0], "deadletter").await?;
    job_when(http, &jobs[1], "cancelled").await?;
    let failed = get(http, &format!("/workflows/{id}")).await?;
    assert_eq!(
        (&failed["status"], &failed["failed_jobs"]),
        (&json!("failed"), &json!(1))
    );
    assert_eq!(
        failed["jobs"][0]["error"]["message"], "it broke",
        "{failed}"
    );
    let retry = format!("/api/v1/workflows/{id}/retry");
    let retried = http.post(&retry, &json!({})).await?;
    assert_eq!(retried.status, 200, "{}", retried.text());
    assert_eq!(retried.json()["status"], "pending");
    // They keep their ids, and the letter is gone.
    for id in &jobs {
        assert_eq!(
            get(http, &format!("/jobs/{id}")).await?["status"],
            "pending"
        );
    }
    assert_eq!(get(http, "/jobs/dlq?queue_name=again").await?, json!([]));
    let listed = get(http, "/jobs?queue_name=again").await?;
    assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
    let twice = http.post(&retry, &json!({})).await?;
    assert_eq!(twice.status, 409, "{}", twice.text());
    complete(http, "again", &jobs[0]).await?;
    complete(http, "again", &jobs[1]).await?;
    let seen = get(http, &format!("/workflows/{id}")).await?;
    assert_eq!(seen["status"], "completed", "{seen}");
    Ok(())
}

async fn cancelled(http: &Http) -> Result<()> {
    let jobs = json!([
        {"key": "first", "queue_name": "stop", "payload": 1},
        {"key": "second", "queue_name": "stop", "payload": 2, "depends_on": ["first"]}]);
    let (id, jobs) = begin(http, &jobs).await?;
    let held = claim_one(http, "stop", "w").await?;
    let cancel = format!("/api/v1/workflows/{id}/cancel");
    let stopped = http.post(&cancel, &json!({})).await?;
    assert_eq!(stopped.status, 200, "{}", stopped.text());
    job_when(http, &jobs[1], "cancelled").await?;
    // What a worker holds goes on.
    assert_eq!(
        report(http, &held, "complete", "w", json!({})).await?,
        done()
    );
    let seen = get(http, &format!("/workflows/{id}")).await?;
    assert_eq!(seen["status"], "cancelled", "{seen}");
    let twice = http.post(&cancel, &json!({})).await?;
    assert_eq!(twice.status, 409, "{}", twice.text());
    // Others are not touched.
    create(http, &json!({"queue_name": "stop", "payload": 3})).await?;
    claim_one(http, "stop", "w").await?;
    assert!(claim(http, "stop", "w", 1).await?.is_empty());
    Ok(())
}

/// A job that failed, was tried again, died, was retried by hand and completed tells all of it.
async fn told(http: &Http) -> Result<()> {
    let config = json!({"settings": {"backoff_base_seconds": 0.05, "backoff_multiplier": 1}});
    let put = http.send(
        http::Method::PUT,
        "/api/v1/queues/told/config",
        &[],
        config.to_string(),
    );
    assert_eq!(put.await?.status, 200);
    let id = create(
        http,
        &json!({"queue_name": "told", "payload": 1, "max_retries": 1}),
    )
    .await?;
    for _ in 0..2 {
        let held = claim_one(http, "told", "w").await?;
        let broke = json!({"error": "it broke"});
        assert_eq!(report(http, &held, "fail", "w", broke).await?.0, 200);
    }
    job_when(http, &id, "deadletter").await?;
    let path = format!("/api/v1/jobs/{id}/retry");
    assert_eq!(http.post(&path, &json!({})).await?.status, 200);
    complete(http, "told", &id).await?;
    job_when(http, &id, "completed").await?;
    let history = get(http, &format!("/jobs/{id}/history")).await?;
    let history = history.as_array().context("a bare array")?.clone();
    let types: Vec<_> = history
        .iter()
        .filter_map(|entry| entry["event_type"].as_str())
        .collect();
    let expected = [
        "created",
        "claimed",
        "failed",
        "retried",
        "claimed",
        "failed",
        "deadlettered",
        "retried",
        "claimed",
        "completed",
    ];
    assert_eq!(types, expected, "{history:?}");
    assert_eq!(history[1]["worker_id"], "w");
    assert_eq!(history[2]["details"]["error"], "it broke");
    assert!(history.iter().all(|entry| entry["job_id"] == json!(id)));
    let path = format!("/api/v1/jobs/{id}/history?order_dir=desc&limit=2&offset=1");
    let page = http.get(&path).await?;
    assert_eq!(page.header("x-has-more"), Some("true"));
    assert_eq!(page.json()[0]["id"], history[8]["id"]);
    Ok(())
}
