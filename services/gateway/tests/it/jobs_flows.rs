//! The jobs API's schedules and workflows: creations, reads, changes, refusals. What workers make of workflows is in the tests of the whole
//! program.

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::QueueName;
use waybill_testkit::eventually;
use waybill_testkit::http::{Answer, Http};

use crate::schedules::millis;
use crate::world::{SOON, World, operator};

async fn post(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.post(&format!("/api/v1{path}"), body).await
}

async fn put(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    let path = format!("/api/v1{path}");
    http.send(Method::PUT, &path, &[], body.to_string()).await
}

async fn get(http: &Http, path: &str) -> Result<Value> {
    let answer = http.get(&format!("/api/v1{path}")).await?;
    ensure!(answer.status == 200, "{path}: {}", answer.text());
    Ok(answer.json())
}

async fn made(http: &Http, path: &str, body: &Value, member: &str) -> Result<String> {
    let answer = post(http, path, body).await?;
    ensure!(answer.status == 201, "{}", answer.text());
    let id = answer.json()[member].as_str().map(str::to_owned);
    id.context("an id")
}

fn yearly(queue: &str) -> Value {
    json!({"name": "yearly", "cron_expression": "0 0 1 1 *", "queue_name": queue, "payload_template": {"job_type": "report", "n": 12_345_678_901_234_567_u64}})
}

/// The field that an error names.
fn field(answer: &Answer) -> (u16, String) {
    let field = answer.json()["details"][0]["field"].clone();
    (
        answer.status.as_u16(),
        field.as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_the_jobs_api_makes_jobs_and_tells_what_became_of_them() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let mut each_second = yearly("often");
    each_second["cron_expression"] = json!("* * * * * *");
    each_second["priority"] = json!(7);
    each_second["tags"] = json!(["a"]);
    let id = made(http, "/schedules", &each_second, "id").await?;
    let path = format!("/schedules/{id}");
    eventually(SOON, async || {
        let seen = get(http, &path).await;
        seen.is_ok_and(|seen| seen["run_count"].as_u64() >= Some(2))
    })
    .await?;
    let seen = get(http, &path).await?;
    assert_ne!(seen["last_run_at"], Value::Null, "{seen}");
    assert_eq!(seen["payload_template"], each_second["payload_template"]);
    let runs = get(http, &format!("{path}/history?limit=2")).await?;
    let runs = runs.as_array().context("runs")?.clone();
    assert_eq!(runs.len(), 2);
    assert!(millis(&runs[0]["started_at"]) >= millis(&runs[1]["started_at"]));
    assert_eq!(
        (
            &runs[0]["status"],
            &runs[0]["job_status"],
            &runs[0]["schedule_id"]
        ),
        (&json!("pending"), &json!("pending"), &json!(id))
    );
    let job = runs[0]["job_id"].as_str().context("a job")?;
    let job = get(http, &format!("/jobs/{job}")).await?;
    for (member, expected) in [
        ("payload", each_second["payload_template"].clone()),
        ("priority", json!(7)),
        ("tags", json!(["a"])),
        ("queue_name", json!("often")),
        ("idempotency_key", Value::Null),
    ] {
        assert_eq!(job[member], expected, "{member}");
    }
    // One engine: the native API has it too, and leaves its words to this one.
    let native = http.get(&format!("/v1/schedules/{id}")).await?;
    assert_eq!(native.json()["schedule"]["when"], "crontab(* * * * * *)");
    let replaced = json!({"when": "every 1h", "task": {"targetUrl": "http://127.0.0.1:9/"}});
    let native = format!("/v1/schedules/{id}");
    let replaced = http.send(Method::PUT, &native, &[], replaced.to_string());
    assert_eq!(replaced.await?.status, 409);
    let ours = format!("/api/v1{path}");
    let gone = http.send(Method::DELETE, &ours, &[], "").await?;
    assert_eq!(gone.status, 204);
    assert_eq!(http.get(&format!("/api/v1{path}")).await?.status, 404);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_changed_paused_triggered_and_listed() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let mut wanted = yearly("reports");
    wanted["description"] = json!("for the heads");
    wanted["metadata"] = json!({"owner": "ops"});
    let id = made(http, "/schedules", &wanted, "id").await?;
    let other = made(http, "/schedules", &yearly("others"), "id").await?;
    let path = format!("/schedules/{id}");
    let seen = get(http, &path).await?;
    for (member, expected) in [
        ("name", json!("yearly")),
        ("description", json!("for the heads")),
        ("cron_expression", json!("0 0 1 1 *")),
        ("timezone", json!("UTC")),
        ("priority", json!(0)),
        ("max_retries", json!(3)),
        ("timeout_seconds", json!(300)),
        ("is_active", json!(true)),
        ("run_count", json!(0)),
        ("last_run_at", Value::Null),
        ("tags", Value::Null),
        ("metadata", json!({"owner": "ops"})),
    ] {
        assert_eq!(seen[member], expected, "{member}: {seen}");
    }
    // Absent keeps, null clears.
    let change = json!({"description": null, "cron_expression": "30 8 * * MON", "timezone": "+05:30", "queue_name": "ignored", "max_retries": 9});
    let changed = put(http, &path, &change).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    for (member, expected) in [
        ("description", Value::Null),
        ("metadata", json!({"owner": "ops"})),
        ("timezone", json!("+05:30")),
        ("queue_name", json!("reports")),
        ("max_retries", json!(9)),
        ("created_at", seen["created_at"].clone()),
    ] {
        assert_eq!(changed[member], expected, "{member}: {changed}");
    }
    assert_eq!(millis(&changed["next_run_at"]) % 86_400_000, 3 * 3_600_000);

    let paused = post(http, &format!("{path}/pause"), &json!({})).await?;
    assert_eq!(paused.json()["is_active"], false, "{}", paused.text());
    assert_eq!(paused.json()["next_run_at"], Value::Null);
    let ids = async |query: &str| -> Result<Vec<String>> {
        let list = get(http, &format!("/schedules?{query}")).await?;
        let ids = list.as_array().context("a bare array")?.iter();
        Ok(ids
            .filter_map(|of| of["id"].as_str().map(str::to_owned))
            .collect())
    };
    assert_eq!(ids("is_active=false").await?, std::slice::from_ref(&id));
    assert_eq!(
        ids("queue_name=others").await?,
        std::slice::from_ref(&other)
    );
    // Two of the same millisecond come in any order.
    let pages = [ids("limit=1").await?, ids("limit=1&offset=1").await?];
    let mut paged = pages.concat();
    paged.sort_unstable();
    let mut both = vec![id.clone(), other.clone()];
    both.sort_unstable();
    assert_eq!(paged, both);
    // The queue of an active schedule exists before it has a job.
    let queues = get(http, "/queues").await?;
    let queues: Vec<_> = queues.as_array().context("queues")?.iter().collect();
    assert_eq!(queues.len(), 1, "{queues:?}");
    assert_eq!(queues[0]["queue_name"], "others");

    let run = post(http, &format!("{path}/trigger"), &json!({})).await?;
    assert_eq!(run.status, 200, "{}", run.text());
    assert_eq!(run.json()["triggered_at"], run.json()["scheduled_at"]);
    let seen = get(http, &path).await?;
    assert_eq!(seen["run_count"], 1, "{seen}");
    let history = get(http, &format!("{path}/history")).await?;
    assert_eq!(history[0]["job_id"], run.json()["job_id"]);

    let resumed = put(http, &path, &json!({"is_active": true})).await?;
    assert_eq!(resumed.json()["is_active"], true, "{}", resumed.text());
    assert_eq!(
        resumed.json()["run_count"],
        1,
        "it was not due in the pause"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_was_due_in_its_pause_runs_once_when_it_is_resumed() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let id = made(http, "/schedules", &yearly("reports"), "id").await?;
    let path = format!("/schedules/{id}");
    post(http, &format!("{path}/pause"), &json!({})).await?;
    let often = put(http, &path, &json!({"cron_expression": "* * * * * *"})).await?;
    assert_eq!(often.status, 200, "{}", often.text());
    let since = millis(&often.json()["updated_at"]);
    eventually(SOON, async || {
        let next = http.get(&format!("/v1/schedules/{id}/next?limit=1")).await;
        next.is_ok_and(|next| millis(&next.json()["next"][0]["dueAt"]) > since + 3_000)
    })
    .await?;
    assert_eq!(get(http, &path).await?["run_count"], 0);
    // Its next instant is a year away: what runs is what was missed.
    let yearly = put(http, &path, &json!({"cron_expression": "0 0 1 1 *"})).await?;
    assert_eq!(yearly.status, 200, "{}", yearly.text());
    let resumed = post(http, &format!("{path}/resume"), &json!({})).await?;
    assert_eq!(resumed.json()["run_count"], 1, "{}", resumed.text());
    let again = post(http, &format!("{path}/resume"), &json!({})).await?;
    assert_eq!(again.json()["run_count"], 1, "{}", again.text());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_named_and_nobody_elses_is_seen() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    for (member, value, expected) in [
        ("name", json!(""), "name"),
        ("name", json!("x".repeat(256)), "name"),
        ("description", json!("x".repeat(1_001)), "description"),
        ("cron_expression", json!("* * * *"), "cron_expression"),
        ("cron_expression", json!("61 * * * *"), "cron_expression"),
        ("cron_expression", json!("0 0 30 2 *"), "cron_expression"),
        ("timezone", json!("Europe/Atlantis"), "timezone"),
        ("queue_name", json!("a b"), "queue_name"),
        ("priority", json!(101), "priority"),
        ("max_retries", json!(101), "max_retries"),
        ("timeout_seconds", json!(0), "timeout_seconds"),
        ("tags", json!(1), "tags"),
        (
            "payload_template",
            json!("x".repeat(65_536)),
            "payload_template",
        ),
    ] {
        let mut wrong = yearly("reports");
        wrong[member] = value;
        let answer = post(http, "/schedules", &wrong).await?;
        assert_eq!(
            field(&answer),
            (400, expected.to_owned()),
            "{member}: {}",
            answer.text()
        );
    }
    let answer = post(http, "/schedules", &json!({"name": "x"})).await?;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let id = made(http, "/schedules", &yearly("ours"), "id").await?;
    let hidden = made(http, "/schedules", &yearly("theirs"), "id").await?;
    let (_, stranger) = world.stranger().await?;
    let wish = KeyWish {
        queues: vec![QueueName::parse("ours")?],
        ..KeyWish::new("limited", &[Scope::JobsRead, Scope::JobsWrite])
    };
    let key = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(key.seq).await?;
    let limited = world.http.with_key(key.key.reveal());
    for (who, id) in [
        (&stranger, id.as_str()),
        (&limited, &hidden),
        (http, "sched_x"),
    ] {
        for (method, more) in [
            (Method::GET, ""),
            (Method::PUT, ""),
            (Method::DELETE, ""),
            (Method::POST, "/pause"),
            (Method::POST, "/resume"),
            (Method::POST, "/trigger"),
            (Method::GET, "/history"),
        ] {
            let path = format!("/api/v1/schedules/{id}{more}");
            let answer = who.send(method.clone(), &path, &[], "{}").await?;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        }
    }
    let listed = get(&limited, "/schedules").await?;
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let refused = post(&limited, "/schedules", &yearly("theirs")).await?;
    assert_eq!(refused.status, 403, "{}", refused.text());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_made_whole_and_shows_its_jobs() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let wanted = json!({"name": "import", "metadata": {"run": [7]}, "jobs": [
        {"key": "load it", "queue_name": "q", "payload": 3, "depends_on": ["fetch", "check"], "dependency_mode": "any", "priority": 4},
        {"name": "fetch", "queue_name": "q", "payload": {"a": 1}},
        {"key": "check", "queue_name": "q", "payload": null, "depends_on": ["fetch"]},
    ]});
    let made = post(http, "/workflows", &wanted).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(made["status"], "pending");
    let keys: Vec<_> = (0..3)
        .map(|at| made["job_ids"][at]["key"].clone())
        .collect();
    assert_eq!(keys, ["load it", "fetch", "check"]);
    let job = |at: usize| made["job_ids"][at]["job_id"].as_str().unwrap_or_default();
    let id = made["workflow_id"].as_str().context("an id")?;
    let seen = get(http, &format!("/workflows/{id}")).await?;
    for (member, expected) in [
        ("id", json!(id)),
        ("name", json!("import")),
        ("status", json!("pending")),
        ("total_jobs", json!(3)),
        ("metadata", json!({"run": [7]})),
        (
            "progress",
            json!({"total": 3, "completed": 0, "failed": 0, "pending": 3, "processing": 0}),
        ),
    ] {
        assert_eq!(seen[member], expected, "{member}: {seen}");
    }
    assert_eq!(seen["dependencies"].as_array().map(Vec::len), Some(3));
    let last = &seen["jobs"][2];
    assert_eq!(
        (
            &last["key"],
            &last["id"],
            &last["dependency_mode"],
            &last["payload"],
            &last["priority"]
        ),
        (
            &json!("load it"),
            &json!(job(0)),
            &json!("any"),
            &json!(3),
            &json!(4)
        )
    );
    let listed = get(http, "/workflows?status=pending").await?;
    assert_eq!(listed[0]["id"], json!(id), "{listed}");
    assert_eq!(get(http, "/workflows?offset=1").await?, json!([]));
    let one = get(http, &format!("/workflows/{id}/jobs/{}", job(1))).await?;
    assert_eq!(one["payload"], json!({"a": 1}));
    let statuses = get(http, &format!("/workflows/{id}/jobs/status")).await?;
    assert_eq!(statuses[0]["key"], "fetch");
    let waits = get(http, &format!("/jobs/{}", job(0))).await?;
    assert_eq!(
        (
            &waits["workflow_id"],
            &waits["dependencies_met"],
            &waits["dependency_mode"]
        ),
        (&json!(id), &json!(false), &json!("any"))
    );
    let links = get(http, &format!("/jobs/{}/dependencies", job(2))).await?;
    assert_eq!(links["dependencies"][0]["job_id"], json!(job(1)));
    assert_eq!(links["dependents"][0]["job_id"], json!(job(0)));
    assert_eq!(links["dependencies_met"], false);
    let free = get(http, &format!("/jobs/{}/dependencies", job(1))).await?;
    assert_eq!(free["dependencies_met"], true);

    let cycle = json!({"name": "x", "jobs": [
        {"key": "a", "queue_name": "q", "payload": 1, "depends_on": ["b"]},
        {"key": "b", "queue_name": "q", "payload": 1, "depends_on": ["a"]}]});
    let refused = post(http, "/workflows", &cycle).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (400, "BAD_REQUEST")
    );
    let retried = post(http, &format!("/workflows/{id}/retry"), &json!({})).await?;
    assert_eq!(retried.status, 409, "{}", retried.text());
    assert_eq!(
        retried.json()["message"],
        "Only failed workflows can be retried"
    );
    let (_, stranger) = world.stranger().await?;
    for (method, more) in [
        (Method::GET, ""),
        (Method::POST, "/cancel"),
        (Method::GET, "/jobs"),
    ] {
        let path = format!("/api/v1/workflows/{id}{more}");
        let answer = stranger.send(method, &path, &[], "{}").await?;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    world.stop().await
}
