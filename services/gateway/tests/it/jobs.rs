//! The jobs API without workers: creations, reads, lists, refusals. Claims and what follows from them are in the tests of the whole
//! program.

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::QueueName;
use waybill_testkit::http::{Answer, Http};

use crate::world::{World, operator};

const NOBODYS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

async fn post(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.post(&format!("/api/v1{path}"), body).await
}

async fn get(http: &Http, path: &str) -> Result<Answer> {
    http.get(&format!("/api/v1{path}")).await
}

async fn create(http: &Http, job: &Value) -> Result<String> {
    let answer = post(http, "/jobs", job).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["id"].as_str().map(str::to_owned);
    id.context("an id")
}

async fn ids(http: &Http, query: &str) -> Result<Vec<String>> {
    let answer = get(http, &format!("/jobs?{query}")).await?;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let list = answer.json();
    let list = list.as_array().context("a bare array")?;
    let ids = list.iter().filter_map(|job| job["id"].as_str());
    Ok(ids.map(str::to_owned).collect())
}

/// Status, code and message of an error.
fn refused(answer: &Answer) -> (u16, String, String) {
    let text = answer.json()["message"].as_str().map(str::to_owned);
    (
        answer.status.as_u16(),
        answer.code(),
        text.unwrap_or_default(),
    )
}

fn is(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_a_pulled_task_and_read_as_it_was_given() -> Result<()> {
    let world = World::start().await?;
    let job = r#"{"queue_name": "emails", "payload": {"job_type": "mail", "b": 12345678901234567890, "a": [1, null]},
        "priority": 7, "max_retries": 100, "timeout_seconds": 86400, "scheduled_at": "2040-01-01T02:00:00+02:00",
        "expires_at": "2041-01-01T00:00:00.5Z", "idempotency_key": "käse", "tags": {"urgent": true}, "colour": "red"}"#;
    let made = world
        .http
        .send(Method::POST, "/api/v1/jobs", &[], job)
        .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("waybill-warnings"), Some("colour"));
    assert_eq!(made.header("x-ratelimit-scope"), Some("organization"));
    let id = made.json()["id"].as_str().context("an id")?.to_owned();
    assert_eq!(made.json(), json!({"id": id, "created": true}));

    let read = get(&world.http, &format!("/jobs/{id}")).await?;
    assert_eq!(read.status, 200, "{}", read.text());
    assert!(
        read.text()
            .contains(r#""payload":{"job_type":"mail","b":12345678901234567890,"a":[1,null]}"#),
        "key for key: {}",
        read.text()
    );
    let job = read.json();
    for (member, expected) in [
        ("id", json!(id)),
        ("organization_id", json!(world.team.as_str())),
        ("queue_name", json!("emails")),
        ("status", json!("scheduled")),
        ("result", Value::Null),
        ("retry_count", json!(0)),
        ("max_retries", json!(100)),
        ("last_error", Value::Null),
        ("scheduled_at", json!("2040-01-01T00:00:00.000Z")),
        ("started_at", Value::Null),
        ("completed_at", Value::Null),
        ("expires_at", json!("2041-01-01T00:00:00.500Z")),
        ("priority", json!(7)),
        ("tags", json!({"urgent": true})),
        ("timeout_seconds", json!(86_400)),
        ("assigned_worker_id", Value::Null),
        ("lease_id", Value::Null),
        ("idempotency_key", json!("käse")),
        ("dependencies_met", json!(true)),
    ] {
        assert_eq!(job.get(member), Some(&expected), "{member}: {job}");
    }
    for member in [
        "created_at",
        "updated_at",
        "parent_job_id",
        "completion_webhook",
        "lease_expires_at",
        "workflow_id",
        "dependency_mode",
    ] {
        assert!(job.get(member).is_some(), "{member}: {job}");
    }

    // The same key again changes nothing, whatever the request says.
    let other = json!({"queue_name": "emails", "payload": 2, "idempotency_key": "käse"});
    let again = post(&world.http, "/jobs", &other).await?;
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.json(), json!({"id": id, "created": false}));

    // One engine: the native API has it among the pulled tasks, with the nearest of its priorities.
    let native = world.http.get("/v1/tasks?kind=job").await?.json();
    assert_eq!(native["tasks"][0]["queue"], "emails", "{native}");
    assert_eq!(native["tasks"][0]["status"], "delayed");
    assert_eq!(native["tasks"][0]["priority"], 5);
    // And the other way round.
    let pulled = json!({"queue": "emails", "json": {"n": 1}, "priority": 10});
    world.http.create(&pulled).await?;
    let of_natives = get(&world.http, "/jobs?order_by=priority&limit=1").await?;
    assert_eq!(of_natives.header("x-has-more"), Some("true"));
    let native = of_natives.json()[0].clone();
    assert_eq!(
        (&native["priority"], &native["status"]),
        (&json!(100), &json!("pending"))
    );
    let path = format!("/jobs/{}", native["id"].as_str().unwrap_or_default());
    assert_eq!(
        get(&world.http, &path).await?.json()["payload"],
        json!({"n": 1})
    );
    // A called task is no job.
    let called = crate::world::a_task();
    world.http.create(&called).await?;
    assert_eq!(ids(&world.http, "").await?.len(), 2);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_ordered_and_paged() -> Result<()> {
    let world = World::start().await?;
    let mut made = Vec::new();
    for (n, (queue, priority, tags)) in [
        ("emails", 3, json!(["nightly"])),
        ("emails", -100, json!({"nightly": 1})),
        ("images", 50, json!(["daily"])),
        ("Images-2", 4, json!([])),
    ]
    .into_iter()
    .enumerate()
    {
        let job = json!({"queue_name": queue, "payload": {"job_type": format!("Type-{n}")}, "priority": priority, "tags": tags});
        made.push(create(&world.http, &job).await?);
    }
    let named = |places: &[usize]| -> Vec<String> {
        places.iter().map(|place| made[*place].clone()).collect()
    };
    for (query, places) in [
        ("", &[3, 2, 1, 0][..]),
        ("order_dir=asc", &[0, 1, 2, 3]),
        ("order_by=priority", &[2, 3, 0, 1]),
        ("order_by=priority&order_dir=asc&limit=2", &[1, 0]),
        ("limit=2&offset=1", &[2, 1]),
        ("limit=1000", &[3, 2, 1, 0]),
        ("limit=0", &[3]),
        ("queue_name=emails", &[1, 0]),
        ("queue=emails", &[1, 0]),
        ("tag=nightly", &[1, 0]),
        ("job_type=Type-2", &[2]),
        ("q=IMAGES", &[3, 2]),
        ("q=type-1", &[1]),
        ("status=pending", &[3, 2, 1, 0]),
        ("status=failed,deadletter", &[]),
        ("created_after=2100-01-01T00:00:00Z", &[]),
        ("created_before=2100-01-01T00:00:00%2B01:00&limit=1", &[3]),
    ] {
        assert_eq!(ids(&world.http, query).await?, named(places), "{query}");
    }
    let by_id = format!("q={}", made[0][..13].to_uppercase());
    assert!(ids(&world.http, &by_id).await?.contains(&made[0]));
    let summary = get(&world.http, "/jobs?limit=1").await?;
    assert_eq!(summary.header("x-has-more"), Some("true"));
    let summary = summary.json()[0].clone();
    assert_eq!(
        (
            &summary["attempt"],
            &summary["retry_count"],
            &summary["job_type"]
        ),
        (&json!(0), &json!(0), &json!("Type-3")),
        "{summary}"
    );
    assert_eq!(summary["last_error"], Value::Null);
    for (query, field) in [
        ("status=dead", "status"),
        ("order_by=id", "order_by"),
        ("order_dir=up", "order_dir"),
        ("created_after=now", "created_after"),
        ("limit=many", "limit"),
        ("queue_name=a%20b", "queue_name"),
    ] {
        let answer = get(&world.http, &format!("/jobs?{query}")).await?;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert_eq!(answer.code(), "VALIDATION_ERROR");
        assert_eq!(
            answer.json()["details"][0]["field"],
            field,
            "{}",
            answer.text()
        );
    }

    let stats = get(&world.http, "/jobs/stats").await?.json();
    assert_eq!(
        stats,
        json!({"pending": 4, "scheduled": 0, "processing": 0, "completed": 0, "failed": 0, "deadletter": 0, "cancelled": 0, "total": 4})
    );
    let stats = get(&world.http, "/jobs/stats?queue_name=emails").await?;
    assert_eq!(stats.json()["total"], 2);
    let path = format!("/jobs/status?ids={},{NOBODYS},x,{}", made[2], made[0]);
    let told = get(&world.http, &path).await?.json();
    let told = told.as_array().context("an array")?;
    assert_eq!(told.len(), 2);
    assert_eq!(
        (&told[0]["id"], &told[0]["status"]),
        (&json!(made[2]), &json!("pending"))
    );
    let many = vec![NOBODYS; 101].join(",");
    let refusal = get(&world.http, &format!("/jobs/status?ids={many}")).await?;
    assert_eq!(
        refused(&refusal),
        is(
            400,
            "BAD_REQUEST",
            "Maximum 100 job IDs allowed per request"
        )
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_created_in_their_order_and_each_key_once() -> Result<()> {
    let world = World::start().await?;
    let request = json!({"queue_name": "bulk", "default_priority": 9, "default_max_retries": 0, "default_timeout_seconds": 60, "jobs": [
        {"payload": 0},
        {"payload": 1, "idempotency_key": "once"},
        {"payload": 2, "priority": 101},
        {"payload": 3, "idempotency_key": "once"},
        {"payload": 4, "priority": -9, "scheduled_at": "2040-01-01T00:00:00Z"},
    ]});
    let answer = post(&world.http, "/jobs/bulk", &request).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(
        (
            &told["total"],
            &told["success_count"],
            &told["failure_count"]
        ),
        (&json!(5), &json!(4), &json!(1))
    );
    let succeeded = told["succeeded"].as_array().context("an array")?;
    let shape: Vec<_> = succeeded
        .iter()
        .map(|job| (job["index"].as_u64(), job["created"].as_bool()))
        .collect();
    let (yes, no) = (Some(true), Some(false));
    assert_eq!(
        shape,
        [
            (Some(0), yes),
            (Some(1), yes),
            (Some(3), no),
            (Some(4), yes)
        ]
    );
    assert_eq!(succeeded[1]["job_id"], succeeded[2]["job_id"]);
    assert_eq!(told["failed"][0]["index"], 2);
    let last = succeeded[3]["job_id"].as_str().unwrap_or_default();
    let last = get(&world.http, &format!("/jobs/{last}")).await?.json();
    assert_eq!(
        (
            &last["priority"],
            &last["max_retries"],
            &last["timeout_seconds"]
        ),
        (&json!(-9), &json!(0), &json!(60))
    );
    // The same request again makes only what has no key.
    let again = post(&world.http, "/jobs/bulk", &request).await?.json();
    assert_eq!(again["succeeded"][1]["created"], false, "{again}");
    assert_eq!(again["succeeded"][1]["job_id"], succeeded[1]["job_id"]);
    for jobs in [json!([]), json!(vec![json!({"payload": 1}); 101])] {
        let wrong = json!({"queue_name": "bulk", "jobs": jobs});
        let answer = post(&world.http, "/jobs/bulk", &wrong).await?;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["details"][0]["field"], "jobs");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_body_of_this_api() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let answer = get(&nobody, "/jobs").await?;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (401, "AUTHENTICATION_FAILED")
    );
    for path in ["", "/", "/nothing", "/jobs/a/b/c", "/outgoing-webhooks"] {
        let answer = get(&world.http, path).await?;
        let expected = is(404, "NOT_FOUND", "No route matches this path");
        assert_eq!(refused(&answer), expected, "{path}");
    }
    let patch = world
        .http
        .send(Method::PATCH, "/api/v1/jobs", &[], "{}")
        .await?;
    assert_eq!(
        (patch.status.as_u16(), patch.code().as_str()),
        (405, "METHOD_NOT_ALLOWED")
    );
    for id in [NOBODYS, "x", "task_01m8kv18sxzwt0rfxw6mmdggt90a"] {
        let answer = get(&world.http, &format!("/jobs/{id}")).await?;
        assert_eq!(
            refused(&answer),
            is(404, "NOT_FOUND", "Job not found"),
            "{id}"
        );
    }
    for (body, status, code, field) in [
        ("{", 400, "BAD_REQUEST", None),
        ("{}", 422, "VALIDATION_ERROR", Some("queue_name")),
        (
            r#"{"queue_name": "q"}"#,
            422,
            "VALIDATION_ERROR",
            Some("payload"),
        ),
        (
            r#"{"queue_name": 7, "payload": 1}"#,
            422,
            "VALIDATION_ERROR",
            Some("queue_name"),
        ),
        (
            r#"{"queue_name": "", "payload": 1}"#,
            400,
            "VALIDATION_ERROR",
            Some("queue_name"),
        ),
        (
            r#"{"queue_name": "q", "payload": 1, "priority": 101}"#,
            400,
            "VALIDATION_ERROR",
            Some("priority"),
        ),
    ] {
        let answer = world
            .http
            .send(Method::POST, "/api/v1/jobs", &[], body)
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{body}: {}",
            answer.text()
        );
        assert_eq!(
            answer.json()["details"][0]["field"].as_str(),
            field,
            "{body}"
        );
        let text = answer.json()["message"].as_str().map(str::to_owned);
        let begins = field.map(|field| format!("{field}: ")).unwrap_or_default();
        assert!(
            text.context("a text")?.starts_with(&begins),
            "{}",
            answer.text()
        );
        assert_eq!(answer.json().get("field"), None);
    }
    let huge = format!(
        r#"{{"queue_name": "q", "payload": "{}"}}"#,
        "x".repeat(3_000_000)
    );
    let answer = world
        .http
        .send(Method::POST, "/api/v1/jobs", &[], huge)
        .await?;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (413, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(answer.json()["error"], "payload_too_large");
    let version = [("x-api-version", "1"), ("x-request-id", "mine")];
    let answer = world
        .http
        .send(Method::GET, "/api/v1/jobs", &version, "")
        .await?;
    assert_eq!(answer.header("x-api-version"), Some("1"));
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    // The native API keeps its own.
    let native = world.http.get("/v1/nothing").await?;
    assert_eq!(native.code(), "not_found");
    assert_eq!(native.header("x-ratelimit-scope"), None);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_queues_sees_and_touches_those_only() -> Result<()> {
    let world = World::start().await?;
    let ours = create(&world.http, &json!({"queue_name": "ours", "payload": 1})).await?;
    let theirs = create(&world.http, &json!({"queue_name": "theirs", "payload": 1})).await?;
    let scopes = [
        Scope::JobsRead,
        Scope::JobsWrite,
        Scope::DlqRead,
        Scope::DlqWrite,
    ];
    let wish = KeyWish {
        queues: vec![QueueName::parse("ours")?],
        ..KeyWish::new("limited", &scopes)
    };
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let limited = world.http.with_key(made.key.reveal());
    assert_eq!(ids(&limited, "").await?, std::slice::from_ref(&ours));
    let stats = get(&limited, "/jobs/stats").await?;
    assert_eq!(stats.json()["total"], 1);
    assert_eq!(get(&limited, &format!("/jobs/{ours}")).await?.status, 200);
    let hidden = get(&limited, &format!("/jobs/{theirs}")).await?;
    assert_eq!(refused(&hidden), is(404, "NOT_FOUND", "Job not found"));
    let refusal = is(
        403,
        "ACCESS_DENIED",
        "API key does not have permission for queue 'theirs'",
    );
    let job = json!({"queue_name": "theirs", "payload": 1});
    assert_eq!(refused(&post(&limited, "/jobs", &job).await?), refusal);
    let bulk = json!({"queue_name": "theirs", "jobs": [{"payload": 1}]});
    assert_eq!(
        refused(&post(&limited, "/jobs/bulk", &bulk).await?),
        refusal
    );
    let claim = json!({"queue_name": "theirs", "worker_id": "w"});
    assert_eq!(
        refused(&post(&limited, "/jobs/claim", &claim).await?),
        refusal
    );
    let listed = get(&limited, "/jobs?queue_name=theirs").await?;
    assert_eq!(refused(&listed), refusal);
    // Letters need a queue.
    for (path, body) in [
        ("/jobs/dlq/retry", json!({"job_ids": [ours]})),
        ("/jobs/dlq/purge", json!({"confirm": true})),
    ] {
        let answer = post(&limited, path, &body).await?;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    let unconfirmed = post(&world.http, "/jobs/dlq/purge", &json!({})).await?;
    assert_eq!(
        (unconfirmed.status.as_u16(), unconfirmed.code().as_str()),
        (400, "BAD_REQUEST")
    );
    // Another team's jobs are nobody's.
    let (_, stranger) = world.stranger().await?;
    let foreign = get(&stranger, &format!("/jobs/{ours}")).await?;
    assert_eq!(refused(&foreign), is(404, "NOT_FOUND", "Job not found"));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_to_anybody() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let told = nobody.get("/health").await?;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    assert_eq!(
        (&told["status"], &told["database"], &told["cache"]),
        (&json!("healthy"), &json!(true), &json!(true)),
        "{told}"
    );
    assert!(
        told["version"].is_string() && told["uptime_seconds"].is_u64(),
        "{told}"
    );
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(nobody.get(path).await?.status, 200, "{path}");
    }
    world.stop().await
}
