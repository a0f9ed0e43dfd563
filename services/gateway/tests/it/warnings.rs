//! What a request says that nobody hears: warned of where work is asked for, refused where rights are given.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_edge::auth::admin_key::AdminKey;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::http::{Answer, Http};

use crate::teams::people::{Person, world_with};
use crate::world::{World, a_task, a_task_for_now};

const STRICT: (&str, &str) = ("prefer", "handling=strict");

fn with(member: &str, value: Value) -> Value {
    let mut task = a_task();
    task[member] = value;
    task
}

async fn strictly(http: &Http, method: Method, path: &str, body: &Value) -> Result<Answer> {
    http.send(method, path, &[STRICT], body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_member_of_a_task_is_a_warning_and_an_error_for_the_strict() -> Result<()> {
    let world = World::start().await?;
    let misspelt = with("delayUntill", json!("2040-01-01T00:00:00Z"));
    let made = world.http.post("/v1/tasks", &misspelt).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        made.json()["warnings"],
        json!([{"field": "delayUntill", "message": "unknown; did you mean delayUntil?"}])
    );
    let right = world.http.post("/v1/tasks", &a_task()).await?;
    assert_eq!(right.json().get("warnings"), None, "{}", right.text());
    // What is inside the client's own values is none of ours.
    let own = with("json", json!({"delayUntill": 1}));
    let own = world.http.post("/v1/tasks", &own).await?;
    assert_eq!(own.json().get("warnings"), None, "{}", own.text());

    let stored = world.log.bounds(Stream::Tasks).await?.last;
    let refused = strictly(&world.http, Method::POST, "/v1/tasks", &misspelt).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (400, "invalid_field")
    );
    assert_eq!(refused.json()["field"], "delayUntill");
    assert!(
        refused.error().contains("did you mean delayUntil?"),
        "{}",
        refused.error()
    );
    assert_eq!(world.log.bounds(Stream::Tasks).await?.last, stored);
    let fine = strictly(&world.http, Method::POST, "/v1/tasks", &a_task()).await?;
    assert_eq!(fine.status, 201, "{}", fine.text());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_warns_of_each_task_and_of_itself() -> Result<()> {
    let world = World::start().await?;
    let body = json!({"tasks": [a_task(), with("max_retries", json!(1)), with("idempotencyKey", json!("k"))], "task": []});
    let made = world.http.post("/v1/tasks/batch?dry=1", &body).await?;
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    assert_eq!(
        made["warnings"],
        json!([
            {"field": "dry", "message": "unknown, and ignored"},
            {"field": "task", "message": "unknown; did you mean tasks?"},
        ])
    );
    assert_eq!(made["results"][0].get("warnings"), None);
    assert_eq!(
        made["results"][1]["warnings"],
        json!([{"field": "max_retries", "message": "unknown; did you mean maxRetries?"}])
    );
    assert_eq!(made["results"][2].get("warnings"), None);

    let whole = strictly(&world.http, Method::POST, "/v1/tasks/batch", &body).await?;
    assert_eq!(
        (whole.status.as_u16(), &whole.json()["field"]),
        (400, &json!("task"))
    );
    let mut one = body;
    one.as_object_mut().context("an object")?.remove("task");
    let one = strictly(&world.http, Method::POST, "/v1/tasks/batch", &one).await?;
    let statuses: Vec<_> = one.json()["results"]
        .as_array()
        .context("results")?
        .iter()
        .map(|result| (result["status"].clone(), result["field"].clone()))
        .collect();
    assert_eq!(
        statuses,
        [
            (json!(201), Value::Null),
            (json!(400), json!("max_retries")),
            (json!(201), Value::Null)
        ]
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_parameter_is_a_warning_on_every_route_of_tasks() -> Result<()> {
    let world = World::start().await?;
    let id = world.http.create(&a_task()).await?;
    let warned = json!([{"field": "staus", "message": "unknown; did you mean status?"}]);
    let listed = world.http.get("/v1/tasks?staus=failed&limit=5").await?;
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert_eq!(listed.json()["warnings"], warned);
    let listed = world.http.get("/v1/tasks?status=delayed&limit=5").await?;
    assert_eq!(listed.json().get("warnings"), None, "{}", listed.text());

    for (method, path, field) in [
        (Method::GET, "/v1/tasks?staus=failed".to_owned(), "staus"),
        (Method::GET, format!("/v1/tasks/{id}?wiat=1"), "wiat"),
        (
            Method::GET,
            format!("/v1/tasks/{id}/result?rwa=true"),
            "rwa",
        ),
        (Method::GET, "/v1/events?tpye=task.dead".into(), "tpye"),
        (Method::GET, format!("/v1/tasks/{id}/events?aftr=1"), "aftr"),
        (Method::POST, "/v1/tasks?expalin=retries".into(), "expalin"),
        (
            Method::POST,
            format!("/v1/tasks/{id}/cancel?force=1"),
            "force",
        ),
        (
            Method::POST,
            format!("/v1/tasks/{id}/webhook/redeliver?now=1"),
            "now",
        ),
        (Method::DELETE, format!("/v1/tasks/{id}?force=1"), "force"),
    ] {
        let answer = strictly(&world.http, method.clone(), &path, &a_task()).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["field"].as_str()),
            (400, Some(field)),
            "{method} {path}: {}",
            answer.text()
        );
    }
    // A stream has no room for them in its events.
    let stream = world.http.events("/v1/events?tpye=task.dead", None).await?;
    assert_eq!(stream.header("waybill-warnings"), Some("tpye"));
    let stream = world.http.events("/v1/events?type=task.dead", None).await?;
    assert_eq!(stream.header("waybill-warnings"), None);

    let read = world.http.get(&format!("/v1/tasks/{id}?wiat=1")).await?;
    assert_eq!(
        read.json()["warnings"][0]["message"],
        "unknown; did you mean wait?"
    );
    let cancel = format!("/v1/tasks/{id}/cancel?force=1");
    let nobody = world.http.post(&cancel, &json!({})).await?;
    assert_eq!(nobody.status, 503, "it is taken: {}", nobody.text());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_explains_its_retries_and_warns_of_those_that_cannot_fit() -> Result<()> {
    let world = World::start().await?;
    let mut task = a_task_for_now();
    task["maxRetries"] = json!(3);
    task["timeout"] = json!(10);
    let explained = world.http.post("/v1/tasks?explain=retries", &task).await?;
    assert_eq!(explained.status, 201, "{}", explained.text());
    let explained = explained.json();
    let attempts = explained["retries"].as_array().context("attempts")?;
    let numbers: Vec<_> = attempts.iter().map(|a| a["number"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let pauses: Vec<_> = attempts.iter().map(|a| a["pause"].clone()).collect();
    assert_eq!(pauses, [0, 1, 2, 4]);
    let created = explained["task"]["createdAt"].as_str().context("a time")?;
    assert_eq!(attempts[0]["earliest"], created);
    let at = |time: &Value| {
        let time = time.as_str().unwrap_or_default();
        waybill_domain::time::Timestamp::parse_iso8601(time).map(|time| time.0)
    };
    let begin = at(&explained["task"]["createdAt"]).context("a time")?;
    assert_eq!(at(&attempts[3]["earliest"]), Some(begin + 7_000));
    assert_eq!(at(&attempts[3]["latest"]), Some(begin + 37_700));
    assert!(attempts.iter().all(|attempt| attempt["fits"] == "always"));
    assert_eq!(explained.get("warnings"), None);
    let unasked = world.http.post("/v1/tasks", &task).await?;
    assert_eq!(unasked.json().get("retries"), None);
    let refused = world.http.post("/v1/tasks?explain=retrys", &task).await?;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["field"]),
        (400, &json!("explain"))
    );

    task["maxRetries"] = json!(10);
    task["expiresIn"] = json!("10s");
    let stored = world.log.bounds(Stream::Tasks).await?.last;
    let refused = strictly(&world.http, Method::POST, "/v1/tasks", &task).await?;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["field"]),
        (400, &json!("expiresIn"))
    );
    assert_eq!(world.log.bounds(Stream::Tasks).await?.last, stored);
    let batch = json!({"tasks": [task]});
    for (path, body) in [
        ("/v1/tasks?explain=retries", &task),
        ("/v1/tasks/batch?explain=retries", &batch),
    ] {
        let told = world.http.post(path, body).await?.json();
        let told = told.get("results").map_or(&told, |results| &results[0]);
        let fits: Vec<_> = told["retries"]
            .as_array()
            .context("attempts")?
            .iter()
            .map(|attempt| attempt["fits"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(fits[..3], ["always", "maybe", "maybe"], "{fits:?}");
        assert!(fits[4..].iter().all(|fits| *fits == "never"), "{fits:?}");
        assert_eq!(told["warnings"][0]["field"], "expiresIn");
        let message = told["warnings"][0]["message"].as_str().context("text")?;
        assert!(message.starts_with("only 3 of 10 retries"), "{message}");
    }
    let mut by_date = a_task();
    by_date["deadline"] = json!("2040-12-31T00:00:05Z");
    by_date["retryBackoff"] = json!("linear");
    let told = world.http.post("/v1/tasks", &by_date).await?.json();
    assert_eq!(told["warnings"][0]["field"], "deadline", "{told}");
    world.stop().await
}

/// One word names a plan that outlives an outage of a night; what does not fit into it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_a_night_is_one_word() -> Result<()> {
    let world = World::start().await?;
    let path = "/v1/tasks?explain=retries";
    let mut task = a_task();
    task["retryBackoff"] = json!("overnight");
    let told = world.http.post(path, &task).await?.json();
    assert_eq!(told["task"]["retryBackoff"], "overnight", "{told}");
    assert_eq!(told["task"]["maxRetries"], 10);
    assert_eq!(told.get("warnings"), None, "{told}");
    let attempts = told["retries"].as_array().context("attempts")?;
    let pauses = attempts.iter().map(|attempt| attempt["pause"].as_u64());
    let over: u64 = pauses.map(Option::unwrap_or_default).sum();
    assert!(over > 12 * 3_600, "{over} s");
    assert!(attempts.iter().all(|attempt| attempt["fits"] == "always"));

    let told = async |task: &Value| anyhow::Ok(world.http.post(path, task).await?.json());
    task["deadline"] = json!("2040-12-31T06:00:00Z");
    assert_eq!(told(&task).await?["warnings"][0]["field"], "deadline");
    task["deadline"] = json!("2041-01-02T00:00:00Z");
    task["maxRetries"] = json!(3);
    assert_eq!(told(&task).await?["warnings"][0]["field"], "maxRetries");
    let refused = strictly(&world.http, Method::POST, path, &task).await?;
    assert_eq!(refused.status.as_u16(), 400);

    let mut listed = a_task();
    listed["retryBackoff"] = json!(["10s", 90, "2h"]);
    let shown = told(&listed).await?;
    assert_eq!(shown["task"]["retryBackoff"], json!([10, 90, 7200]));
    assert_eq!(shown["retries"].as_array().map(Vec::len), Some(4));
    for wrong in [
        json!(["25h"]),
        json!([]),
        json!("overday"),
        json!(7),
        json!([true]),
    ] {
        listed["retryBackoff"] = wrong.clone();
        let refused = world.http.post(path, &listed).await?;
        assert_eq!(refused.status.as_u16(), 400, "{wrong}");
        let refused = refused.json();
        let at = refused["field"].as_str().unwrap_or_default();
        assert!(at.starts_with("retryBackoff"), "{wrong}: {refused}");
    }
    world.stop().await
}

/// A repeated request is told the same of itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_warns_and_explains_again() -> Result<()> {
    let world = World::start().await?;
    let send = async || {
        let body = with("colour", json!("red")).to_string();
        let headers = [("idempotency-key", "once")];
        let path = "/v1/tasks?explain=retries";
        world.http.send(Method::POST, path, &headers, body).await
    };
    let first = send().await?;
    let again = send().await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["warnings"], first.json()["warnings"]);
    assert_eq!(again.json()["warnings"][0]["field"], "colour");
    assert_eq!(again.json()["retries"], first.json()["retries"]);
    assert_eq!(again.json()["retries"].as_array().map(Vec::len), Some(4));
    world.stop().await
}

/// Bodies that may have members nobody knows, and why.
const LENIENT: [&str; 42] = [
    // Work: with a warning.
    "POST /v1/tasks",
    "POST /v1/tasks/batch",
    "POST /v1/tasks/{id}/replay",
    "PATCH /v1/tasks/{id}",
    "POST /v1/claims",
    "POST /v1/claims/reports",
    "POST /v1/claims/{id}/complete",
    "POST /v1/claims/{id}/fail",
    "POST /v1/claims/{id}/heartbeat",
    "POST /v1/claims/{id}/progress",
    "POST /v1/claims/{id}/release",
    "PUT /v1/workers/{name}",
    "POST /v1/schedules",
    "PUT /v1/schedules/{id}",
    "POST /v1/workflows",
    // With a header that names them.
    "POST /api/v1/jobs",
    "POST /api/v1/jobs/bulk",
    "POST /api/v1/jobs/claim",
    "POST /api/v1/jobs/dlq/purge",
    "POST /api/v1/jobs/dlq/retry",
    "POST /api/v1/jobs/{id}/complete",
    "POST /api/v1/jobs/{id}/fail",
    "POST /api/v1/jobs/{id}/heartbeat",
    "POST /api/v1/jobs/{id}/progress",
    "POST /api/v1/jobs/{id}/renew-lease",
    "POST /api/v1/jobs/{id}/retry",
    "PUT /api/v1/jobs/{id}/priority",
    "POST /api/v1/schedules",
    "PUT /api/v1/schedules/{id}",
    "POST /api/v1/schedules/{id}/pause",
    "POST /api/v1/schedules/{id}/resume",
    "POST /api/v1/schedules/{id}/trigger",
    "POST /api/v1/workflows",
    "POST /api/v1/workflows/{id}/cancel",
    "POST /api/v1/workflows/{id}/retry",
    "PUT /api/v1/queues/{name}/config",
    "POST /api/v1/queues/{name}/pause",
    "POST /api/v1/queues/{name}/resume",
    "POST /api/v1/workers/register",
    "POST /api/v1/workers/{id}/heartbeat",
    "POST /api/v1/workers/{id}/deregister",
    // A list in a shape that others define, signed by them; it gives nobody a right.
    "POST /v1/key-reports",
];

/// Every route with a JSON body: method, path and whether it takes a person's session.
fn routes_with_bodies() -> Vec<(Method, String, bool)> {
    let api = serde_json::to_value(waybill_gateway::openapi()).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "delete", "patch"] {
            let operation = &item[method];
            let json = &operation["requestBody"]["content"]["application/json"];
            if !json.is_object() {
                continue;
            }
            let ways = operation["security"].as_array().into_iter().flatten();
            let session = ways.clone().any(|way| way["session"].is_array());
            let method = method.to_uppercase().parse().expect("a method");
            routes.push((method, path.clone(), session));
        }
    }
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_gives_rights_never_has_unknown_members() -> Result<()> {
    let admin = "the key of administrators";
    let (world, _) = world_with(|config| config.admin_key = Some(AdminKey::new(admin))).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "ours", "pro").await?.to_string();
    let keys = format!("/teams/{}/apikeys", world.team);
    let key = world.http.post(&keys, &json!({"name": "victim"})).await?;
    let key = key.json()["apiKey"]["id"].clone();
    let key = key.as_str().context("an id")?;
    let before = world.log.bounds(Stream::Control).await?.last;
    let mut tried = BTreeSet::new();
    for (method, path, session) in routes_with_bodies() {
        let name = format!("{method} {path}");
        if LENIENT.contains(&&*name) {
            continue;
        }
        let http = if session { &ann.http } else { &world.http };
        let filled = path
            .replace(
                "{teamId}",
                if session { &team } else { world.team.as_str() },
            )
            .replace("{userId}", &ann.id.to_string())
            .replace("{keyId}", key)
            .replace("/api-keys/{id}", &format!("/api-keys/{key}"))
            // Well-formed ids of things that are not there: the path is read before the body, and the body before anything is looked up.
            .replace("{appId}", "app_00000000000000000000000000")
            .replace("{tokenId}", "tok_00000000000000000000000000")
            .replace(
                "/listeners/{id}",
                "/listeners/lsn_00000000000000000000000000",
            )
            .replace(
                "/schedules/{id}",
                "/schedules/sched_00000000000000000000000000",
            )
            .replace("{id}", "task_01m8kv18sxzwt0rfxw6mmdggt90a")
            .replace("{name}", "mail")
            .replace("{key}", "mail")
            .replace("{host}", "a.example");
        for prefer in ["handling=lenient", "handling=strict"] {
            let headers = [("prefer", prefer), ("x-admin-key", admin)];
            // The jobs API tells first what it misses, so there is all that any of its calls requires.
            let body = match path.starts_with("/api/v1/") {
                false => r#"{"scopess": ["tasks:read"]}"#,
                true => {
                    r#"{"scopess": ["tasks:read"], "name": "n", "slug": "n-n", "api_key": "k", "refresh_token": "t", "token": "t", "return_url": "u"}"#
                }
            };
            let answer = http.send(method.clone(), &filled, &headers, body).await?;
            let answered = answer.json();
            let field = match path.starts_with("/api/v1/") {
                false => &answered["field"],
                true => &answered["details"][0]["field"],
            };
            assert_eq!(
                (answer.status.as_u16(), field.as_str()),
                (400, Some("scopess")),
                "{name}: {}",
                answer.text()
            );
        }
        tried.insert(name);
    }
    for surely in [
        "POST /teams/{teamId}/apikeys",
        "POST /v1/api-keys",
        "POST /apikeys/{keyId}/rotate",
        "POST /teams/{teamId}/apps",
        "PUT /teams/{teamId}/plan",
        "PUT /teams/{teamId}/vault-policy",
        "POST /v1/tokens",
        "POST /api/v1/api-keys",
        "POST /api/v1/admin/organizations/{id}/api-keys",
        "POST /v1/events/stream-token",
        "POST /v1/signing-secret/rotate",
    ] {
        assert!(tried.contains(surely), "{surely}: {tried:?}");
    }
    assert_eq!(
        world.log.bounds(Stream::Control).await?.last,
        before,
        "nothing was made"
    );
    assert_eq!(
        world.log.bounds(Stream::Tasks).await?.last,
        StreamSeq(0),
        "nothing was made"
    );
    world.stop().await
}
