//! Workflows: what is accepted, what is refused, and that all of it is made or nothing.

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::http::Http;

use crate::activity::key;
use crate::world::World;

/// Nobody runs its tasks here.
fn task() -> Value {
    json!({"targetUrl": "http://127.0.0.1:9/hook"})
}

fn step(name: &str, after: &[&str]) -> Value {
    json!({"name": name, "runAfter": after, "task": task()})
}

async fn make(http: &Http, request: &Value, key: Option<&str>) -> Result<(u16, Value)> {
    let headers: Vec<_> = key
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let answer = http
        .send(Method::POST, "/v1/workflows", &headers, request.to_string())
        .await?;
    Ok((answer.status.as_u16(), answer.json()))
}

fn names(workflow: &Value) -> Vec<&str> {
    let tasks = workflow["tasks"].as_array().into_iter().flatten();
    tasks.filter_map(|task| task["name"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_made_read_and_listed_with_its_tasks() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let request = json!({
        "name": " Import ",
        "description": "of invoices",
        "metadata": {"customer": "7"},
        "queue": "imports",
        "tasks": [
            step("load", &["fetch", "check"]),
            {"name": "check", "runAfter": ["fetch"], "runAfterMode": "any", "task": {}},
            step("fetch", &[]),
        ],
    });
    let (status, made) = make(http, &request, None).await?;
    ensure!(status == 201, "{made}");
    let workflow = &made["workflow"];
    assert_eq!(
        names(workflow),
        ["fetch", "check", "load"],
        "those that others run after first"
    );
    assert_eq!(workflow["name"], "Import");
    assert_eq!(workflow["queue"], "imports");
    assert_eq!(workflow["status"], "pending");
    assert_eq!(workflow["progress"]["total"], 3);
    assert_eq!(workflow["tasks"][1]["runAfterMode"], "any");
    let load = workflow["tasks"].as_array().context("tasks")?.last();
    let load = load.context("a task")?;
    assert_eq!(load["runAfter"], json!(["fetch", "check"]));

    let id = workflow["id"].as_str().context("an id")?;
    let read = http.get(&format!("/v1/workflows/{id}")).await?.json();
    assert_eq!(&read["workflow"], workflow);
    let task = http.task(load["taskId"].as_str().context("an id")?).await?;
    assert_eq!(
        task["workflow"],
        json!({"id": id, "name": "load", "retry": 0})
    );
    assert_eq!(task["queue"], "imports");

    let second = json!({"name": "Second", "tasks": [step("only", &[])]});
    make(http, &second, None).await?;
    let page = http.get("/v1/workflows?limit=1").await?.json();
    assert_eq!(page["workflows"][0]["name"], "Second");
    assert_eq!(page["workflows"][0]["tasks"], Value::Null);
    let cursor = page["nextCursor"].as_str().context("a cursor")?;
    let page = http
        .get(&format!("/v1/workflows?limit=1&cursor={cursor}"))
        .await?;
    let page = page.json();
    assert_eq!(page["workflows"][0]["id"], json!(id));
    assert_eq!(page["workflows"][0]["progress"], workflow["progress"]);
    let none = http.get("/v1/workflows?status=completed").await?.json();
    assert_eq!(none["workflows"], json!([]));
    let retried = http
        .post(&format!("/v1/workflows/{id}/retry"), &json!({}))
        .await?;
    assert_eq!(retried.status, 409, "{}", retried.text());
    for path in [
        "/v1/workflows/flow_x",
        "/v1/workflows/flow_00000000000000000000000000",
    ] {
        assert_eq!(http.get(path).await?.status, 404, "{path}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_nothing_twice() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let request = json!({"name": "Twice", "tasks": [step("a", &[]), step("b", &["a"])]});
    let many = (0..8).map(|_| make(http, &request, Some("once")));
    let mut ids = Vec::new();
    for answer in futures::future::join_all(many).await {
        let (status, made) = answer?;
        ensure!(status == 201, "{made}");
        ids.push(made["workflow"]["tasks"][1]["taskId"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let all = http.get("/v1/workflows").await?.json();
    assert_eq!(all["workflows"].as_array().map(Vec::len), Some(1));
    let other = json!({"name": "Twice", "tasks": [step("a", &[]), step("b", &[])]});
    let (status, refused) = make(http, &other, Some("once")).await?;
    assert_eq!(
        (status, &refused["code"]),
        (422, &json!("idempotency_mismatch"))
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_by_its_field_and_nothing_is_made() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let with = |change: Value| {
        let mut request = json!({"name": "Wrong", "tasks": [step("a", &[]), step("b", &["a"])]});
        for (name, value) in change.as_object().into_iter().flatten() {
            request[name] = value.clone();
        }
        request
    };
    let with_task = |task: Value| {
        with(json!({"tasks": [step("a", &[]), {"name": "b", "runAfter": ["a"], "task": task}]}))
    };
    let many: Vec<_> = (0..1_001).map(|at| step(&format!("t{at}"), &[])).collect();
    for (request, field) in [
        (with(json!({"name": null})), "name"),
        (with(json!({"name": "x".repeat(256)})), "name"),
        (
            with(json!({"description": "x".repeat(1_001)})),
            "description",
        ),
        (
            with(json!({"metadata": {"a": "x".repeat(5_000)}})),
            "metadata",
        ),
        (with(json!({"queue": "no queue"})), "queue"),
        (with(json!({"tasks": []})), "tasks"),
        (with(json!({"tasks": null})), "tasks"),
        (with(json!({"tasks": many})), "tasks"),
        (with(json!({"tasks": [{"task": {}}]})), "tasks.0.name"),
        (
            with(json!({"tasks": [{"name": "a b", "task": {}}]})),
            "tasks.0.name",
        ),
        (with(json!({"tasks": [{"name": "a"}]})), "tasks.0.task"),
        (
            with(json!({"tasks": [step("a", &[]), step("a", &[])]})),
            "tasks.1.name",
        ),
        (
            with(json!({"tasks": [step("a", &["c"])]})),
            "tasks.0.runAfter.0",
        ),
        (
            with(json!({"tasks": [step("a", &[]), step("b", &["a", "a"])]})),
            "tasks.1.runAfter.1",
        ),
        (
            with(json!({"tasks": [step("a", &["a"])]})),
            "tasks.0.runAfter",
        ),
        (
            with(json!({"tasks": [step("a", &["b"]), step("b", &["a"])]})),
            "tasks.0.runAfter",
        ),
        (
            with(json!({"tasks": [{"name": "a", "runAfterMode": "some", "task": {}}]})),
            "tasks.0.runAfterMode",
        ),
        (
            with_task(json!({"targetUrl": "ftp://x/"})),
            "tasks.1.task.targetUrl",
        ),
        (
            with_task(json!({"idempotencyKey": "x"})),
            "tasks.1.task.idempotencyKey",
        ),
        (
            with_task(json!({"debounce": {"key": "x", "delay": "1s"}})),
            "tasks.1.task.debounce",
        ),
        (
            with_task(json!({"singleton": {"key": "x"}})),
            "tasks.1.task.singleton",
        ),
        (
            with_task(json!({"dedup": {"key": "x"}})),
            "tasks.1.task.dedup",
        ),
        (
            with(json!({"queue": "mine", "tasks": [{"name": "a", "task": {"queue": "other"}}]})),
            "tasks.0.task.queue",
        ),
        (
            with_task(json!({"body": "{{tasks.a.result}}"})),
            "tasks.1.task.body",
        ),
        (
            with_task(json!({"body": "{{tasks.b.result.body}}"})),
            "tasks.1.task.body",
        ),
        (
            with_task(json!({"targetUrl": "http://127.0.0.1/{{tasks.c.result.status}}"})),
            "tasks.1.task.targetUrl",
        ),
    ] {
        let (status, refused) = make(http, &request, None).await?;
        let told = refused["field"].as_str().unwrap_or_default();
        assert_eq!((status, told), (400, field), "{refused}");
    }
    let all = http.get("/v1/workflows").await?.json();
    assert_eq!(all["workflows"], json!([]));
    assert_eq!(world.log.bounds(Stream::Tasks).await?.last, StreamSeq(0));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_belongs_to_one_team_and_environment() -> Result<()> {
    let world = World::start().await?;
    let request = json!({"name": "Ours", "tasks": [step("a", &[])]});
    let (_, made) = make(&world.http, &request, None).await?;
    let id = made["workflow"]["id"].as_str().context("an id")?.to_owned();
    let (_, other) = key(&world, "test", Scope::ALL, Environment::Test).await?;
    for (method, path) in [
        (Method::GET, format!("/v1/workflows/{id}")),
        (Method::POST, format!("/v1/workflows/{id}/cancel")),
        (Method::POST, format!("/v1/workflows/{id}/retry")),
    ] {
        let answer = other.send(method, &path, &[], String::new()).await?;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    let listed = other.get("/v1/workflows").await?.json();
    assert_eq!(listed["workflows"], json!([]));
    world.stop().await
}
