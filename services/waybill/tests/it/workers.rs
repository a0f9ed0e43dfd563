//! Workers that pull, from outside: what is told of them, draining them, and keys that are limited to queues.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_testkit::http::{Answer, Http};

use crate::installation::Installation;

/// Within this time a claim that waits is answered when its worker is drained.
const AT_ONCE: Duration = Duration::from_secs(1);

fn claim(worker: &str, queues: &[&str], wait: u32) -> Value {
    json!({"queues": queues, "worker": worker, "wait": wait, "leaseSeconds": 60})
}

async fn worker(http: &Http, name: &str) -> Result<Value> {
    let answer = http.get(&format!("/v1/workers/{name}")).await?;
    ensure!(answer.status == 200, "{}", answer.error());
    Ok(answer.json()["worker"].clone())
}

async fn send(http: &Http, method: Method, path: &str, body: &Value) -> Result<Answer> {
    http.send(method, path, &[], body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_listed_by_what_they_do_and_drained_workers_get_nothing() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);

    // A worker that only claims is known with what it holds; its name may have a slash.
    assert_eq!(http.get("/v1/workers/a%2F1").await?.status, 404);
    let id = http.create(&json!({"queue": "q"})).await?;
    let held = http.post("/v1/claims", &claim("a/1", &["q"], 5)).await?;
    let held = held.json()["claims"][0].clone();
    assert_eq!(held["taskId"], json!(id));
    let known = worker(&http, "a%2F1").await?;
    assert_eq!(
        (&known["state"], &known["held"], &known["registration"]),
        (&json!("active"), &json!(1), &Value::Null)
    );
    assert_eq!(known["claims"][0]["id"], held["id"]);
    assert!(known["claims"][0]["leaseEndsAt"].is_string() && known["lastSeenAt"].is_string());

    // One that registers says more, each time anew.
    let says = json!({"queues": ["q", "r"], "version": "1", "beatSeconds": 30});
    let path = "/v1/workers/b";
    let told = send(&http, Method::PUT, path, &says).await?;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json()["worker"]["registration"]["version"], "1");
    let again = send(&http, Method::PUT, path, &json!({"version": "2"})).await?;
    let registration = again.json()["worker"]["registration"].clone();
    assert_eq!(
        (&registration["version"], &registration["queues"]),
        (&json!("2"), &json!([]))
    );
    let listed = http.get("/v1/workers").await?.json();
    let names: Vec<_> = listed["workers"]
        .as_array()
        .context("workers")?
        .iter()
        .map(|worker| worker["name"].clone())
        .collect();
    assert_eq!(names, [json!("a/1"), json!("b")]);
    assert_eq!(listed["workers"][0].get("claims"), None);

    // A claim that waits hears of the drain at once; what it holds it keeps, and is told so.
    let waiting = tokio::spawn({
        let http = http.clone();
        async move {
            http.post("/v1/claims", &claim("a/1", &["q", "r", "s"], 20))
                .await
        }
    });
    let give_up = Instant::now() + Duration::from_secs(10);
    while worker(&http, "a%2F1").await?["waiting"] != json!(true) {
        ensure!(Instant::now() < give_up, "the claim does not wait");
    }
    let reason = json!({"reason": "a new disk"});
    let drained = http.post("/v1/workers/a%2F1/drain", &reason).await?;
    assert_eq!(drained.status, 200, "{}", drained.text());
    assert_eq!(drained.json()["worker"]["state"], "draining");
    let began = Instant::now();
    let answer = waiting.await??;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (200, json!({"claims": [], "draining": true}))
    );
    http.create(&json!({"queue": "q"})).await?;
    let nothing = http.post("/v1/claims", &claim("a/1", &["q"], 0)).await?;
    assert_eq!(nothing.json(), json!({"claims": [], "draining": true}));
    let of = |action: &str| format!("/v1/claims/{}/{action}", held["id"].as_str().unwrap_or(""));
    let beat = http.post(&of("heartbeat"), &json!({})).await?;
    assert_eq!(beat.json()["claim"]["draining"], true, "{}", beat.text());
    let done = http.post(&of("complete"), &json!({})).await?;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(worker(&http, "a%2F1").await?["state"], "drained");

    // Others go on, and the drain outlives a restart, until it is lifted.
    let other = http.post("/v1/claims", &claim("b", &["q"], 5)).await?;
    assert_eq!(other.json()["claims"].as_array().map(Vec::len), Some(1));
    up.interrupt().await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let known = worker(&http, "a%2F1").await?;
    assert_eq!(known["drain"]["reason"], "a new disk");
    let resumed = http.post("/v1/workers/a%2F1/resume", &json!({})).await?;
    assert_eq!(resumed.json()["worker"]["drain"], Value::Null);
    http.create(&json!({"queue": "q"})).await?;
    let got = http.post("/v1/claims", &claim("a/1", &["q"], 5)).await?;
    assert_eq!(got.json()["claims"].as_array().map(Vec::len), Some(1));

    // Who deregisters is gone; what it holds is listed until its end.
    let gone = http.send(Method::DELETE, path, &[], "").await?;
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(worker(&http, "b").await?["held"], 1, "it still holds one");

    for (path, body, field) in [
        ("/v1/workers/w", json!({"beatSeconds": 1}), "beatSeconds"),
        ("/v1/workers/w", json!({"queues": ["a b"]}), "queues"),
        ("/v1/workers/a%0Ab", json!({}), "name"),
    ] {
        let refused = send(&http, Method::PUT, path, &body).await?;
        assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field);
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_limited_to_queues_works_in_these_alone() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let made = json!({"name": "images only", "queues": ["images"]});
    let made = http.post("/v1/api-keys", &made).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json()["apiKey"].clone();
    assert_eq!(made["queues"], json!(["images"]));
    let limited = up.http(made["key"].as_str().context("a key")?);
    let hidden = http.create(&json!({"queue": "words"})).await?;
    let seen = http.create(&json!({"queue": "images"})).await?;

    // It sees its queues and no others.
    let listed = limited.get("/v1/tasks?kind=all").await?.json();
    assert_eq!(listed["pagination"]["total"], 1, "{listed}");
    assert_eq!(listed["tasks"][0]["id"], json!(seen));
    let queues = limited.get("/v1/queues").await?.json();
    assert_eq!(queues["queues"].as_array().map(Vec::len), Some(1));
    assert_eq!(limited.get(&format!("/v1/tasks/{seen}")).await?.status, 200);
    let given = limited
        .post("/v1/claims", &claim("w", &["images"], 5))
        .await?;
    let given = given.json()["claims"][0].clone();
    assert_eq!(given["taskId"], json!(seen));
    let id = given["id"].as_str().context("an id")?;
    let done = limited
        .post(&format!("/v1/claims/{id}/complete"), &json!({}))
        .await?;
    assert_eq!(done.status, 200, "{}", done.text());
    let named = json!({"queues": ["images"]});
    let registered = send(&limited, Method::PUT, "/v1/workers/w", &named).await?;
    assert_eq!(registered.status, 200, "{}", registered.text());
    let created = limited
        .post("/v1/tasks", &json!({"queue": "images"}))
        .await?;
    assert_eq!(created.status, 201, "{}", created.text());

    // What others claimed is unknown to it, and everything else refused.
    let other = http.post("/v1/claims", &claim("w", &["words"], 5)).await?;
    let other = other.json()["claims"][0]["id"].clone();
    let other = other.as_str().context("an id")?.to_owned();
    let path = format!("/v1/claims/{other}/complete");
    assert_eq!(limited.post(&path, &json!({})).await?.status, 404);
    let words = json!({"queues": ["words"]});
    for (method, path, body) in [
        (
            Method::POST,
            "/v1/claims".to_owned(),
            claim("w", &["images", "words"], 0),
        ),
        (Method::PUT, "/v1/workers/w".to_owned(), words),
        (
            Method::POST,
            "/v1/tasks".to_owned(),
            json!({"queue": "words"}),
        ),
        (
            Method::GET,
            "/v1/tasks?queue=images,words".to_owned(),
            Value::Null,
        ),
        (Method::GET, format!("/v1/tasks/{hidden}"), Value::Null),
        (
            Method::GET,
            format!("/v1/tasks/{hidden}/explain"),
            Value::Null,
        ),
        (
            Method::GET,
            format!("/v1/tasks/{hidden}/events"),
            Value::Null,
        ),
        (
            Method::GET,
            "/v1/events?queue=words".to_owned(),
            Value::Null,
        ),
        (Method::GET, "/v1/queues/words".to_owned(), Value::Null),
        // Routes that do not look at queues.
        (
            Method::POST,
            format!("/v1/tasks/{seen}/cancel"),
            Value::Null,
        ),
        (Method::GET, "/v1/workers".to_owned(), Value::Null),
        (Method::GET, "/v1/schedules".to_owned(), Value::Null),
        (Method::GET, "/v1/dead-letters".to_owned(), Value::Null),
        (
            Method::POST,
            "/v1/queues/images/pause".to_owned(),
            json!({}),
        ),
        (
            Method::POST,
            "/v1/api-keys".to_owned(),
            json!({"name": "wider"}),
        ),
    ] {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let refused = limited.send(method.clone(), &path, &[], body).await?;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text());
        assert_eq!(refused.code(), "access_denied", "{method} {path}");
    }
    let batch = json!({"tasks": [{"queue": "images"}, {"queue": "words"}]});
    let batch = limited.post("/v1/tasks/batch", &batch).await?.json();
    let statuses = batch["results"].as_array().context("results")?;
    let statuses: Vec<_> = statuses.iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [json!(201), json!(403)]);

    // Its successor is limited as well, and an empty list is none.
    let path = format!("/apikeys/{}/rotate", made["id"].as_str().unwrap_or(""));
    let next = http.post(&path, &json!({})).await?;
    assert_eq!(next.status, 201, "{}", next.text());
    assert_eq!(next.json()["apiKey"]["queues"], json!(["images"]));
    for queues in [json!([]), json!(["a b"])] {
        let wrong = json!({"name": "n", "queues": queues});
        let refused = http.post("/v1/api-keys", &wrong).await?;
        assert_eq!(refused.json()["field"], "queues", "{wrong}");
    }
    let many: Vec<_> = (0..21).map(|number| format!("q{number}")).collect();
    let many = json!({"name": "n", "queues": many});
    let refused = http.post("/v1/api-keys", &many).await?;
    assert_eq!(refused.json()["field"], "queues");

    // Lists tell pulled tasks from those that are called.
    let called = json!({"targetUrl": "http://127.0.0.1:9/", "queue": "calls", "delay": "1h"});
    let called = http.create(&called).await?;
    for (query, is_pulled) in [("", false), ("?kind=task", false), ("?kind=job", true)] {
        let listed = http.get(&format!("/v1/tasks{query}")).await?.json();
        let tasks = listed["tasks"].as_array().context("tasks")?;
        assert!(!tasks.is_empty());
        let is_right = |task: &Value| (task["id"] != json!(called)) == is_pulled;
        assert!(tasks.iter().all(is_right), "{query}: {listed}");
        let total = listed["pagination"]["total"].as_u64();
        assert_eq!(total, Some(tasks.len() as u64), "{query}: {listed}");
        assert!(
            listed.get("searched").is_none(),
            "it has an index: {listed}"
        );
    }
    let refused = http.get("/v1/tasks?kind=jobs").await?;
    assert_eq!(refused.json()["field"], "kind", "{}", refused.text());
    up.interrupt().await?;
    Ok(())
}
