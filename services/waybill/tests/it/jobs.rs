//! The jobs API from outside: jobs that are claimed, completed, failed, lost and tried again.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use waybill_domain::time::Timestamp;
use waybill_testkit::http::{Answer, Http};

use crate::installation::Installation;

/// Deadline of a condition.
const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn post(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.post(&format!("/api/v1/jobs{path}"), body).await
}

pub(crate) async fn create(http: &Http, job: &Value) -> Result<String> {
    let answer = post(http, "", job).await?;
    ensure!(answer.status == 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().map(str::to_owned);
    id.context("an id")
}

pub(crate) async fn job(http: &Http, id: &str) -> Result<Value> {
    let answer = http.get(&format!("/api/v1/jobs/{id}")).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    Ok(answer.json())
}

/// The job once it is in that state.
pub(crate) async fn job_when(http: &Http, id: &str, status: &str) -> Result<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let job = job(http, id).await?;
        if job["status"] == status {
            return Ok(job);
        }
        ensure!(Instant::now() < deadline, "{status}: {job}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn claim(
    http: &Http,
    queue: &str,
    worker: &str,
    limit: u32,
) -> Result<Vec<Value>> {
    let body =
        json!({"queue_name": queue, "worker_id": worker, "limit": limit, "lease_duration_secs": 5});
    let answer = post(http, "/claim", &body).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    let jobs = answer.json()["jobs"].as_array().cloned();
    jobs.context("jobs")
}

/// Claims until there is something.
pub(crate) async fn claim_one(http: &Http, queue: &str, worker: &str) -> Result<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(job) = claim(http, queue, worker, 1).await?.pop() {
            return Ok(job);
        }
        ensure!(Instant::now() < deadline, "nothing to claim in {queue}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a report is answered: the status, and the code and the message of an error.
pub(crate) async fn report(
    http: &Http,
    held: &Value,
    action: &str,
    worker: &str,
    more: Value,
) -> Result<(u16, String, String)> {
    let mut body = json!({"worker_id": worker, "lease_id": held["lease_id"]});
    let members = body.as_object_mut().context("an object")?;
    members.extend(more.as_object().cloned().unwrap_or_default());
    let id = held["id"].as_str().unwrap_or_default();
    let answer = post(http, &format!("/{id}/{action}"), &body).await?;
    let text = answer.json()["message"].as_str().map(str::to_owned);
    Ok((
        answer.status.as_u16(),
        answer.code(),
        text.unwrap_or_default(),
    ))
}

pub(crate) fn done() -> (u16, String, String) {
    (200, String::new(), String::new())
}

fn is(status: u16, code: &str, text: &str) -> (u16, String, String) {
    (status, code.to_owned(), text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_claim_complete_and_fail_jobs_as_spooleds_clients_do() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);

    ends_once(&http).await?;
    highest_first(&http).await?;
    refusals(&http).await?;
    letters(&http).await?;
    lost_lease(&http).await?;
    workers(&http).await?;
    queues(&http).await?;
    up.interrupt().await?;
    Ok(())
}

async fn ends_once(http: &Http) -> Result<()> {
    let id = create(http, &json!({"queue_name": "mail", "payload": {"to": "a"}})).await?;
    assert!(claim(http, "empty", "w", 5).await?.is_empty());
    let held = claim_one(http, "mail", "w").await?;
    for (member, expected) in [
        ("id", json!(id)),
        ("queue_name", json!("mail")),
        ("payload", json!({"to": "a"})),
        ("retry_count", json!(0)),
        ("max_retries", json!(3)),
        ("timeout_seconds", json!(300)),
    ] {
        assert_eq!(held[member], expected, "{member}: {held}");
    }
    let seen = job(http, &id).await?;
    assert_eq!(
        (
            &seen["status"],
            &seen["lease_id"],
            &seen["assigned_worker_id"]
        ),
        (&json!("processing"), &held["lease_id"], &json!("w"))
    );
    let longer = json!({"lease_duration_secs": 60});
    assert_eq!(report(http, &held, "heartbeat", "w", longer).await?, done());
    let alias = json!({"extension_seconds": 70});
    assert_eq!(
        report(http, &held, "renew-lease", "w", alias).await?,
        done()
    );
    let half = json!({"progress": 50.5, "message": "half"});
    assert_eq!(report(http, &held, "progress", "w", half).await?, done());
    let result = json!({"result": {"sent": 123_456_789_012_345_678_u64}});
    assert_eq!(
        report(http, &held, "complete", "w", result.clone()).await?,
        done()
    );
    let seen = job(http, &id).await?;
    assert_eq!(seen["status"], "completed");
    assert_eq!(seen["result"], result["result"]);
    for action in ["complete", "fail", "heartbeat"] {
        let more = json!({"error": "x", "lease_duration_secs": 30});
        assert_eq!(
            report(http, &held, action, "w", more).await?,
            is(409, "CONFLICT", "Job is already completed"),
            "{action}"
        );
    }
    // The same engine.
    let tasks = http
        .get("/v1/tasks?kind=job&status=completed")
        .await?
        .json();
    assert_eq!(tasks["tasks"][0]["queue"], "mail", "{tasks}");
    Ok(())
}

async fn highest_first(http: &Http) -> Result<()> {
    let bulk = json!({"queue_name": "order", "jobs": [
        {"payload": 0, "priority": 1}, {"payload": 1, "priority": -100}, {"payload": 2, "priority": 2}, {"payload": 3, "priority": 1}
    ]});
    let made = post(http, "/bulk", &bulk).await?;
    assert_eq!(made.status, 200, "{}", made.text());
    let last = made.json()["succeeded"][3]["job_id"].clone();
    // Answered once the owner knows all of them.
    let path = format!(
        "/api/v1/jobs/{}/priority",
        last.as_str().unwrap_or_default()
    );
    let same = json!({"priority": 1}).to_string();
    let known = http.send(http::Method::PUT, &path, &[], same).await?;
    assert_eq!(known.status, 200, "{}", known.text());
    let first = claim_one(http, "order", "w").await?;
    let others = claim(http, "order", "w", 100).await?;
    let order: Vec<_> = [first]
        .iter()
        .chain(&others)
        .map(|job| job["payload"].clone())
        .collect();
    assert_eq!(order, [2, 0, 3, 1]);
    Ok(())
}

async fn refusals(http: &Http) -> Result<()> {
    let id = create(http, &json!({"queue_name": "strict", "payload": 1})).await?;
    let nobody = is(404, "NOT_FOUND", "Job not found or not owned by worker");
    let unclaimed = json!({"id": id, "lease_id": "x"});
    assert_eq!(
        report(http, &unclaimed, "complete", "w", json!({})).await?,
        nobody
    );
    let held = claim_one(http, "strict", "w").await?;
    assert_eq!(
        report(http, &held, "complete", "v", json!({})).await?,
        nobody
    );
    let other = json!({"id": id, "lease_id": "x"});
    let (status, code, text) = report(http, &other, "complete", "w", json!({})).await?;
    assert_eq!((status, code.as_str()), (409, "LEASE_EXPIRED"));
    assert!(
        text.contains("does not match the job's current lease"),
        "{text}"
    );
    // Without the lease the body has not the shape.
    let path = format!("/{id}/complete");
    let bare = post(http, &path, &json!({"worker_id": "w"})).await?;
    assert_eq!(
        (bare.status.as_u16(), bare.code().as_str()),
        (422, "VALIDATION_ERROR")
    );
    assert_eq!(bare.json()["details"][0]["field"], "lease_id");
    for (action, more, field) in [
        ("fail", json!({"error": ""}), "error"),
        ("fail", json!({"error": "x".repeat(2_049)}), "error"),
        (
            "heartbeat",
            json!({"lease_duration_secs": 4}),
            "lease_duration_secs",
        ),
        ("progress", json!({"progress": 101}), "progress"),
    ] {
        let (status, code, text) = report(http, &held, action, "w", more).await?;
        assert_eq!(
            (status, code.as_str()),
            (400, "VALIDATION_ERROR"),
            "{action}: {text}"
        );
        assert!(text.starts_with(&format!("{field}: ")), "{text}");
    }
    // A running job is neither cancelled nor given another priority.
    let cancel = http
        .send(http::Method::DELETE, &format!("/api/v1/jobs/{id}"), &[], "")
        .await?;
    assert_eq!(cancel.status, 409);
    assert_eq!(
        cancel.json()["message"],
        "Job cannot be cancelled (not in pending or scheduled state)"
    );
    let path = format!("/api/v1/jobs/{id}/priority");
    let body = json!({"priority": 5}).to_string();
    let refused = http
        .send(http::Method::PUT, &path, &[], body.clone())
        .await?;
    assert_eq!(refused.status, 404);
    assert_eq!(
        report(http, &held, "complete", "w", json!({})).await?,
        done()
    );

    let id = create(
        http,
        &json!({"queue_name": "strict", "payload": 1, "scheduled_at": tomorrow()?}),
    )
    .await?;
    let path = format!("/api/v1/jobs/{id}/priority");
    let changed = http.send(http::Method::PUT, &path, &[], body).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(
        changed.json(),
        json!({"job_id": id, "old_priority": 0, "new_priority": 5})
    );
    let cancel = http
        .send(http::Method::DELETE, &format!("/api/v1/jobs/{id}"), &[], "")
        .await?;
    assert_eq!(cancel.status, 204, "{}", cancel.text());
    assert_eq!(job(http, &id).await?["status"], "cancelled");
    let retried = post(http, &format!("/{id}/retry"), &json!({})).await?;
    assert_eq!(retried.status, 409, "{}", retried.text());
    Ok(())
}

async fn letters(http: &Http) -> Result<()> {
    let wish =
        json!({"queue_name": "letters", "payload": 1, "max_retries": 1, "idempotency_key": "l"});
    let id = create(http, &wish).await?;
    let held = claim_one(http, "letters", "w").await?;
    let path = format!("/{id}/fail");
    let body = json!({"worker_id": "w", "lease_id": held["lease_id"], "error": "it broke"});
    let failed = post(http, &path, &body).await?;
    assert_eq!(failed.status, 200, "{}", failed.text());
    let told = failed.json();
    assert_eq!(
        (&told["success"], &told["will_retry"]),
        (&json!(true), &json!(true))
    );
    let pause = told["next_retry_delay_secs"].as_u64().context("a pause")?;
    assert!(pause <= 2, "{told}");
    let seen = job(http, &id).await?;
    assert_eq!(
        (&seen["retry_count"], &seen["last_error"]),
        (&json!(1), &json!("it broke"))
    );
    // Repeated, it does nothing a second time.
    let again = post(http, &path, &body).await?;
    assert_eq!(
        (again.status.as_u16(), again.code().as_str()),
        (409, "LEASE_EXPIRED")
    );
    let held = claim_one(http, "letters", "w").await?;
    assert_eq!(held["retry_count"], 1);
    assert_eq!(
        report(http, &held, "fail", "w", json!({"reason": "for good"})).await?,
        done()
    );
    let dead = job_when(http, &id, "deadletter").await?;
    assert_eq!(dead["last_error"], "for good");
    let listed = http
        .get("/api/v1/jobs/dlq?queue_name=letters")
        .await?
        .json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["status"]),
        (&json!(id), &json!("deadletter"))
    );

    // It goes on under its id.
    let retried = post(http, &format!("/{id}/retry"), &json!({})).await?;
    assert_eq!(retried.status, 200, "{}", retried.text());
    let seen = retried.json();
    assert_eq!(
        (
            &seen["id"],
            &seen["status"],
            &seen["retry_count"],
            &seen["last_error"]
        ),
        (&json!(id), &json!("pending"), &json!(0), &Value::Null)
    );
    assert_eq!(seen["created_at"], dead["created_at"]);
    let stats = http
        .get("/api/v1/jobs/stats?queue_name=letters")
        .await?
        .json();
    assert_eq!(
        (&stats["pending"], &stats["deadletter"], &stats["total"]),
        (&json!(1), &json!(0), &json!(1))
    );
    let list = http.get("/api/v1/jobs?queue_name=letters").await?.json();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let held = claim_one(http, "letters", "w").await?;
    assert_eq!(held["id"], json!(id));
    let fatal = json!({"error": "again", "no_retry": true});
    assert_eq!(report(http, &held, "fail", "w", fatal).await?, done());
    job_when(http, &id, "deadletter").await?;

    let body = json!({"job_ids": [id, "x"]});
    let told = post(http, "/dlq/retry", &body).await?.json();
    assert_eq!(
        told,
        json!({"retried_count": 1, "retried_jobs": [id], "skipped_jobs": ["x"]})
    );
    let held = claim_one(http, "letters", "w").await?;
    let fatal = json!({"error": "once more", "no_retry": true});
    assert_eq!(report(http, &held, "fail", "w", fatal).await?, done());
    job_when(http, &id, "deadletter").await?;
    let body = json!({"queue_name": "letters", "confirm": true});
    let told = post(http, "/dlq/purge", &body).await?.json();
    assert_eq!(told, json!({"purged_count": 1}));
    let gone = http.get(&format!("/api/v1/jobs/{id}")).await?;
    assert_eq!(gone.status, 404, "{}", gone.text());
    let told = post(http, "/dlq/purge", &body).await?.json();
    assert_eq!(told, json!({"purged_count": 0}));
    Ok(())
}

async fn lost_lease(http: &Http) -> Result<()> {
    let id = create(
        http,
        &json!({"queue_name": "slow", "payload": 1, "max_retries": 5}),
    )
    .await?;
    let first = claim_one(http, "slow", "w").await?;
    let second = claim_one(http, "slow", "w").await?;
    assert_eq!(
        (&second["id"], &second["retry_count"]),
        (&json!(id), &json!(1))
    );
    let (status, code, text) = report(http, &first, "complete", "w", json!({})).await?;
    assert_eq!((status, code.as_str()), (409, "LEASE_EXPIRED"));
    assert!(text.contains("does not match"), "{text}");
    assert_eq!(
        report(http, &second, "complete", "w", json!({})).await?,
        done()
    );
    assert_eq!(job(http, &id).await?["retry_count"], 1);
    Ok(())
}

async fn workers(http: &Http) -> Result<()> {
    let path = |path: &str| format!("/api/v1/workers{path}");
    let wish = json!({"queue_name": "mail", "hostname": "h-1", "worker_id": "w-1", "worker_type": "python", "max_concurrency": 7,
        "metadata": {"zone": "a"}, "version": "1.6.0"});
    let made = http.post(&path("/register"), &wish).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        made.json(),
        json!({"id": "w-1", "queue_name": "mail", "lease_duration_secs": 30, "heartbeat_interval_secs": 10})
    );
    let read = http.get(&path("/w-1")).await?.json();
    for (member, expected) in [
        ("queue_names", json!(["mail"])),
        ("hostname", json!("h-1")),
        ("worker_type", json!("python")),
        ("metadata", json!({"zone": "a"})),
        ("version", json!("1.6.0")),
        ("max_concurrency", json!(7)),
        ("current_jobs", json!(0)),
        ("status", json!("healthy")),
    ] {
        assert_eq!(read[member], expected, "{member}: {read}");
    }
    let beat = http
        .post(&path("/w-1/heartbeat"), &json!({"current_jobs": 0}))
        .await?;
    assert_eq!(
        beat.json(),
        json!({"acknowledged": true, "should_drain": false})
    );
    let drains = json!({"current_jobs": 0, "status": "draining"});
    let beat = http.post(&path("/w-1/heartbeat"), &drains).await?;
    assert_eq!(beat.json()["should_drain"], true, "{}", beat.text());
    // It stays so until it registers anew.
    let healthy = json!({"current_jobs": 0, "status": "healthy"});
    http.post(&path("/w-1/heartbeat"), &healthy).await?;
    assert_eq!(http.get(&path("/w-1")).await?.json()["status"], "draining");
    assert_eq!(http.post(&path("/register"), &wish).await?.status, 201);
    let list = http.get(&path("")).await?.json();
    assert_eq!(
        list.as_array().map(Vec::len),
        Some(1),
        "those that registered: {list}"
    );
    assert_eq!(
        (&list[0]["id"], &list[0]["status"]),
        (&json!("w-1"), &json!("healthy"))
    );
    let stats = http.get("/api/v1/queues/mail/stats").await?.json();
    assert_eq!(
        (&stats["active_workers"], &stats["completed_jobs_24h"]),
        (&json!(1), &json!(1))
    );
    let gone = http.post(&path("/w-1/deregister"), &json!({})).await?;
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(http.get(&path("/w-1")).await?.json()["status"], "offline");
    for (what, body) in [("heartbeat", healthy), ("deregister", json!({}))] {
        for worker in ["w-1", "nobody"] {
            let answer = http
                .post(&path(&format!("/{worker}/{what}")), &body)
                .await?;
            assert_eq!(answer.status, 404, "{what} {worker}: {}", answer.text());
        }
    }
    Ok(())
}

async fn queues(http: &Http) -> Result<()> {
    let missing = http.post("/api/v1/queues/never/pause", &json!({})).await?;
    assert_eq!(
        (missing.status.as_u16(), missing.code().as_str()),
        (404, "NOT_FOUND")
    );
    create(http, &json!({"queue_name": "held", "payload": 1})).await?;
    let paused = http
        .post("/api/v1/queues/held/pause", &json!({"reason": "moving"}))
        .await?;
    assert_eq!(paused.status, 200, "{}", paused.text());
    assert_eq!(
        (&paused.json()["paused"], &paused.json()["reason"]),
        (&json!(true), &json!("moving"))
    );
    assert!(
        claim(http, "held", "w", 1).await?.is_empty(),
        "nothing of a paused queue"
    );
    let list = http.get("/api/v1/queues").await?.json();
    let list = list.as_array().context("a bare array")?;
    let of = |name: &str| {
        list.iter()
            .find(|queue| queue["queue_name"] == name)
            .cloned()
    };
    assert_eq!(
        of("held").context("listed")?,
        json!({"queue_name": "held", "max_retries": 3, "default_timeout": 300, "rate_limit": null, "enabled": false})
    );
    assert_eq!(of("mail").context("listed")?["enabled"], true);
    let resumed = http
        .send(http::Method::POST, "/api/v1/queues/held/resume", &[], "")
        .await?;
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    assert_eq!(resumed.json()["resumed"], true);
    claim_one(http, "held", "w").await?;
    Ok(())
}

fn tomorrow() -> Result<String> {
    let at = SystemTime::now() + Duration::from_secs(86_400);
    let at = at.duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(at.as_millis())?).to_rfc3339())
}
