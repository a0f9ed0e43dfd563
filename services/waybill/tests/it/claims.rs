//! Pulled tasks from outside: workers that claim, report, lose their leases and go away.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use waybill_testkit::http::Http;

use crate::installation::Installation;

/// Within this time a claim that waits has its task, and a lease that is over has given it back.
const AT_ONCE: Duration = Duration::from_secs(1);

fn claim(queues: &[&str], wait: u32, lease: u32) -> Value {
    json!({"queues": queues, "worker": "w", "max": 10, "wait": wait, "leaseSeconds": lease})
}

async fn claimed(http: &Http, body: &Value) -> Result<Vec<Value>> {
    let answer = http.post("/v1/claims", body).await?;
    ensure!(answer.status == 200, "{}", answer.error());
    let claims = answer.json()["claims"].as_array().cloned();
    Ok(claims.unwrap_or_default())
}

/// What a report is answered: its status, and the outcome or the code.
async fn report(http: &Http, claim: &Value, action: &str, body: Value) -> Result<(u16, String)> {
    let id = claim["id"].as_str().unwrap_or_default();
    let answer = http
        .post(&format!("/v1/claims/{id}/{action}"), &body)
        .await?;
    let word = match answer.status.as_u16() {
        200 => answer.json()["claim"]["outcome"]
            .as_str()
            .map(str::to_owned),
        _ => Some(answer.code()),
    };
    Ok((answer.status.as_u16(), word.unwrap_or_default()))
}

fn said(status: u16, word: &str) -> (u16, String) {
    (status, word.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_claim_report_and_lose_what_they_do_not_finish() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);

    // A worker that waits is woken by the task that it gets.
    let waiting = tokio::spawn({
        let http = http.clone();
        async move { claimed(&http, &claim(&["a", "b", "c", "d", "e"], 20, 30)).await }
    });
    let id = http
        .create(&json!({"queue": "c", "json": {"n": [1, 2]}}))
        .await?;
    let began = Instant::now();
    let got = waiting.await??;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    let [held] = &got[..] else {
        anyhow::bail!("{got:?}");
    };
    assert_eq!((&held["taskId"], &held["queue"]), (&json!(id), &json!("c")));
    assert_eq!(held["body"], r#"{"n":[1,2]}"#);
    let task = http.task(&id).await?;
    assert_eq!(
        (&task["status"], &task["targetUrl"]),
        (&json!("processing"), &Value::Null)
    );
    assert_eq!(
        (&task["claim"]["id"], &task["claim"]["worker"]),
        (&held["id"], &json!("w"))
    );

    // It says how far it has come, and completes; repeated, that is answered alike.
    let progress = json!({"percent": 40, "message": "half"});
    assert_eq!(
        report(&http, held, "progress", progress).await?,
        said(200, "held")
    );
    let task = http.task(&id).await?;
    assert_eq!(task["claim"]["progress"]["percent"], 40);
    for _ in 0..2 {
        let done = json!({"result": {"sum": 3}});
        assert_eq!(
            report(&http, held, "complete", done).await?,
            said(200, "completed")
        );
    }
    let task = http.completed(&id).await?;
    assert_eq!(
        (&task["ok"], &task["result"]["body"]),
        (&json!(true), &json!(r#"{"sum":3}"#))
    );
    assert_eq!(task["attempts"][0]["worker"], "w");
    assert_eq!(task.get("claim"), None);
    for (action, body) in [
        ("fail", json!({"error": "no"})),
        ("heartbeat", json!({})),
        ("release", json!({})),
    ] {
        assert_eq!(
            report(&http, held, action, body).await?,
            said(409, "lease_lost"),
            "{action}"
        );
    }

    // A lease that is over gives the task to others, and its former holder changes nothing.
    let slow = json!({"queue": "slow", "maxRetries": 1, "retryBackoff": ["1s"]});
    let id = http.create(&slow).await?;
    let first = claimed(&http, &claim(&["slow"], 5, 1)).await?;
    let began = Instant::now();
    http.task_when(&id, |task| task["status"] == "pending")
        .await?;
    assert!(began.elapsed() < 2 * AT_ONCE, "{:?}", began.elapsed());
    let second = claimed(&http, &claim(&["slow"], 10, 60)).await?;
    assert_eq!(second[0]["attempt"], 2);
    let done = json!({"result": 1});
    assert_eq!(
        report(&http, &first[0], "complete", done.clone()).await?,
        said(409, "lease_lost")
    );
    assert_eq!(http.task(&id).await?["status"], "processing");
    // Cancelled, it ends at once.
    let cancelled = http
        .post(&format!("/v1/tasks/{id}/cancel"), &json!({}))
        .await?;
    assert_eq!(cancelled.status, 200, "{}", cancelled.error());
    http.task_when(&id, |task| task["status"] == "cancelled")
        .await?;
    assert_eq!(
        report(&http, &second[0], "complete", done).await?,
        said(409, "lease_lost")
    );

    many_at_once(&http).await?;
    failures(&http).await?;
    pauses(&http).await?;
    wrong_requests(&http).await?;
    up.interrupt().await?;
    Ok(())
}

/// What the worker no longer has at hand comes from the log, to each claim its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_many_gets_from_the_log_what_its_owner_does_not_keep() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set("WAYBILL__WORKER__CACHE_MIB", "0");
    let up = installation.up().await?;
    let http = up.http(&key);
    let tasks = |from: u32| {
        let tasks = (from..from + 5).map(|n| json!({"queue": "cold", "json": n}));
        json!({"tasks": tasks.collect::<Vec<_>>()})
    };
    for from in [0, 5] {
        let answer = http.post("/v1/tasks/batch", &tasks(from)).await?;
        ensure!(answer.status == 200, "{}", answer.error());
    }
    let mut held = Vec::new();
    while held.len() < 10 {
        let more = claimed(&http, &claim(&["cold"], 10, 60)).await?;
        ensure!(!more.is_empty(), "only {held:?}");
        held.extend(more);
    }
    let bodies: Vec<_> = held
        .iter()
        .filter_map(|held| held["body"].as_str())
        .collect();
    let mut numbers: Vec<u32> = bodies.iter().filter_map(|body| body.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>(), "{held:?}");
    for held in &held {
        let task = http
            .task(held["taskId"].as_str().unwrap_or_default())
            .await?;
        assert_eq!(task["body"], held["body"]);
    }
    up.interrupt().await?;
    Ok(())
}

/// Several reports go in one request, each with a status of its own.
async fn many_at_once(http: &Http) -> Result<()> {
    for n in 0..5 {
        http.create(&json!({"queue": "many", "json": n})).await?;
    }
    let held = claimed(http, &claim(&["many"], 0, 60)).await?;
    assert_eq!(held.len(), 5);
    let lost = held[0]["id"]
        .as_str()
        .unwrap_or_default()
        .replace("_1", "_7");
    let reports = json!({"reports": [
        {"id": held[0]["id"], "action": "complete", "result": [1]},
        {"id": held[1]["id"], "action": "fail", "error": "broken", "retry": false},
        {"id": held[2]["id"], "action": "heartbeat", "leaseSeconds": 5},
        {"id": held[3]["id"], "action": "release"},
        {"id": held[4]["id"], "action": "complete", "error": "not of this one"},
        {"id": lost, "action": "complete"},
        {"id": "claim_x", "action": "complete"},
        {"id": held[4]["id"], "action": "dance"},
    ]});
    let answer = http.post("/v1/claims/reports", &reports).await?;
    assert_eq!(answer.status, 200, "{}", answer.error());
    let results = answer.json()["results"].clone();
    let statuses: Vec<_> = results
        .as_array()
        .into_iter()
        .flatten()
        .map(|result| result["status"].as_u64().unwrap_or_default())
        .collect();
    assert_eq!(statuses[..5], [200, 200, 200, 200, 400], "{results}");
    assert!([404, 409].contains(&statuses[5]), "{results}");
    assert_eq!(statuses[6..], [404, 400], "{results}");
    assert_eq!(results[2]["claim"]["leaseSeconds"], 5.0);
    assert_eq!(
        claimed(http, &claim(&["many"], 5, 60)).await?.len(),
        1,
        "what was released"
    );
    Ok(())
}

/// A failure is tried again while retries are left, and then it is a dead letter.
async fn failures(http: &Http) -> Result<()> {
    let id = http
        .create(&json!({"queue": "fails", "maxRetries": 1, "retryBackoff": ["1s"]}))
        .await?;
    for attempt in 1..=2 {
        let held = claimed(http, &claim(&["fails"], 10, 60)).await?;
        assert_eq!(held[0]["attempt"], attempt);
        let why = json!({"error": "it cannot be read"});
        assert_eq!(
            report(http, &held[0], "fail", why).await?,
            said(200, "failed")
        );
    }
    let task = http
        .task_when(&id, |task| task["status"] == "failed")
        .await?;
    assert_eq!(task["error"], "it cannot be read");
    let dead = http.get("/v1/dead-letters?queue=fails").await?.json();
    assert_eq!(dead["deadLetters"][0]["id"], json!(id), "{dead}");
    // Tried again, it is offered to workers again.
    let again = http
        .post(&format!("/v1/dead-letters/{id}/retry"), &json!({}))
        .await?;
    assert_eq!(again.status, 201, "{}", again.error());
    assert_eq!(claimed(http, &claim(&["fails"], 10, 60)).await?.len(), 1);
    Ok(())
}

/// A paused queue gives nothing, and says so; resumed, it wakes who waits.
async fn pauses(http: &Http) -> Result<()> {
    let id = http.create(&json!({"queue": "held"})).await?;
    let explained = http.get(&format!("/v1/tasks/{id}/explain")).await?.json();
    assert_eq!(explained["explanation"]["blockedBy"]["kind"], "unclaimed");
    let paused = http.post("/v1/queues/held/pause", &json!({})).await?;
    assert_eq!(paused.status, 200, "{}", paused.error());
    assert_eq!(
        claimed(http, &claim(&["held"], 0, 60)).await?,
        Vec::<Value>::new()
    );
    let waiting = tokio::spawn({
        let http = http.clone();
        async move { claimed(&http, &claim(&["held"], 20, 60)).await }
    });
    http.post("/v1/queues/held/resume", &json!({})).await?;
    assert_eq!(waiting.await??.len(), 1);
    Ok(())
}

async fn wrong_requests(http: &Http) -> Result<()> {
    let unknown = format!("claim_{}_1", "0".repeat(28));
    for (path, body, status, field) in [
        (
            "/v1/claims".to_owned(),
            json!({"worker": "w"}),
            400,
            Some("queues"),
        ),
        (
            "/v1/claims".to_owned(),
            json!({"queues": ["a"]}),
            400,
            Some("worker"),
        ),
        (
            "/v1/claims".to_owned(),
            json!({"queues": "a", "worker": "w"}),
            400,
            Some("queues"),
        ),
        (
            "/v1/claims/reports".to_owned(),
            json!({"reports": []}),
            400,
            Some("reports"),
        ),
        (
            format!("/v1/claims/{unknown}/complete"),
            json!({}),
            404,
            None,
        ),
        (
            format!("/v1/claims/{unknown}/heartbeat"),
            json!({}),
            404,
            None,
        ),
        (
            "/v1/claims/nonsense/complete".to_owned(),
            json!({}),
            404,
            None,
        ),
        (
            format!("/v1/claims/{unknown}/fail"),
            json!({}),
            400,
            Some("error"),
        ),
    ] {
        let answer = http.post(&path, &body).await?;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{path} {body}: {}",
            answer.error()
        );
        assert_eq!(answer.json()["field"].as_str(), field, "{path} {body}");
    }
    let nobody = http
        .with_key("wb_live_nobody")
        .post("/v1/claims", &claim(&["a"], 0, 5))
        .await?;
    assert_eq!(nobody.status, 401);
    Ok(())
}

/// Claims and leases outlive the process: what was held stays held, and what was reported stays so.
#[tokio::test(flavor = "multi_thread")]
async fn leases_outlive_a_killed_process() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let first = http.create(&json!({"queue": "q", "json": 1})).await?;
    let second = http.create(&json!({"queue": "q", "json": 2})).await?;
    let held = claimed(&http, &claim(&["q"], 5, 120)).await?;
    assert_eq!(held.len(), 2);
    assert_eq!(
        report(&http, &held[0], "complete", json!({})).await?,
        said(200, "completed")
    );
    up.kill().await?;

    let up = installation.up().await?;
    let http = up.http(&key);
    http.task_when(&first, |task| task["status"] == "completed")
        .await?;
    assert_eq!(
        claimed(&http, &claim(&["q"], 0, 120)).await?,
        Vec::<Value>::new()
    );
    assert_eq!(
        report(&http, &held[0], "complete", json!({})).await?,
        said(200, "completed")
    );
    assert_eq!(
        report(&http, &held[1], "heartbeat", json!({})).await?,
        said(200, "held")
    );
    assert_eq!(
        report(&http, &held[1], "complete", json!({})).await?,
        said(200, "completed")
    );
    http.task_when(&second, |task| task["status"] == "completed")
        .await?;
    up.interrupt().await?;
    Ok(())
}
