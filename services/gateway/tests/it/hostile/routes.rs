//! Every described route, with a key that may only read and with another team's. Generated from the description, so that a new route is in.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::http::Http;

use crate::limited::refusals::lacking_scope;
use crate::world::{World, a_task};

/// A route of the description: method, path template, and whom it wants.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// What a key needs; people need a role with it.
    pub(crate) scope: Option<String>,
    /// Any key will do, and no person.
    pub(crate) is_for_keys: bool,
    /// No key will do.
    pub(crate) is_for_people: bool,
    pub(crate) has_body: bool,
}

pub(crate) fn routes() -> Vec<Route> {
    let api = serde_json::to_value(waybill_gateway::openapi()).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "delete", "patch"] {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            let security = operation["security"].as_array();
            let wants = |who: &str| {
                let mut all = security.into_iter().flatten();
                all.find_map(|requirement| requirement.get(who))
            };
            let key = wants("api_key");
            routes.push(Route {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                scope: key.and_then(|scopes| scopes[0].as_str()).map(str::to_owned),
                is_for_keys: key.is_some_and(|scopes| scopes == &json!([])),
                is_for_people: wants("session").is_some(),
                has_body: operation.get("requestBody").is_some(),
            });
        }
    }
    assert!(routes.len() > 10);
    routes
}

/// What is asked by POST, since a question with a body does not fit into a URL. It changes nothing.
const ONLY_ASKS: [&str; 3] = [
    "/v1/signatures/verify",
    "/v1/tasks/{id}/stream-token",
    "/v1/events/stream-token",
];

/// A team's own things, to put into paths.
struct Ids {
    task: String,
    team: String,
    key: String,
    token: String,
    operation: String,
    schedule: String,
    workflow: String,
    job: String,
    /// A schedule and a workflow of the jobs API.
    job_schedule: String,
    job_workflow: String,
    view: String,
}

impl Ids {
    fn fill(&self, path: &str) -> String {
        if path.starts_with("/v1/operations/") {
            return path.replace("{id}", &self.operation);
        }
        if path.starts_with("/v1/schedules/") {
            return path.replace("{id}", &self.schedule);
        }
        if path.starts_with("/v1/workflows/") {
            return path.replace("{id}", &self.workflow);
        }
        if path.starts_with("/api/v1/jobs/") || path.starts_with("/api/v1/events/") {
            return path.replace("{id}", &self.job);
        }
        if path.starts_with("/api/v1/schedules/") {
            return path.replace("{id}", &self.job_schedule);
        }
        if path.starts_with("/api/v1/workflows/") {
            let path = path.replace("{id}", &self.job_workflow);
            return path.replace("{job_id}", &self.job);
        }
        if path.starts_with("/v1/views/") {
            return path.replace("{id}", &self.view);
        }
        path.replace("{id}", &self.task)
            .replace("{teamId}", &self.team)
            .replace("{keyId}", &self.key)
            .replace("{tokenId}", &self.token)
            .replace("{seq}/proof", "{seq}/proof?size=1")
            .replace("{name}", "ours")
            .replace("{key}", "ours")
            .replace("{host}", "ours.example")
            .replace("{seq}", "1")
    }
}

/// A token in the vault of the world's team.
async fn token(world: &World) -> Result<String> {
    let kept = json!({"name": "kept", "value": "only for us"});
    let made = world.http.post("/v1/tokens", &kept).await?;
    let id = made.json()["token"]["id"].clone();
    Ok(id.as_str().unwrap_or_default().to_owned())
}

/// An operation of the world's team, which was about nothing and is over.
async fn operation(world: &World) -> Result<String> {
    let about = json!({"action": "retry", "filter": {"queue": "nobodys"}});
    let made = world.http.post("/v1/operations", &about).await?;
    let id = made.json()["operation"]["id"].clone();
    let id = id.as_str().unwrap_or_default().to_owned();
    crate::operations::over(&world.http, &id).await?;
    Ok(id)
}

/// A schedule of the world's team, which is not due for a long time.
async fn schedule(world: &World) -> Result<String> {
    let asked =
        json!({"when": "at 2100-01-01T00:00:00Z", "task": {"targetUrl": "http://ours.example/"}});
    let made = world.http.post("/v1/schedules", &asked).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["schedule"]["id"].clone();
    Ok(id.as_str().unwrap_or_default().to_owned())
}

/// A workflow of the world's team, which is not due for a long time.
async fn workflow(world: &World) -> Result<String> {
    let task = json!({"targetUrl": "http://ours.example/", "delayUntil": "2099-01-01T00:00:00Z"});
    let asked = json!({"name": "ours", "tasks": [{"name": "a", "task": task}]});
    let made = world.http.post("/v1/workflows", &asked).await?;
    let id = made.json()["workflow"]["id"].clone();
    Ok(id.as_str().unwrap_or_default().to_owned())
}

/// Whether it is a report of a worker, which has to hold the job.
fn settles(path: &str) -> bool {
    let reports = ["complete", "fail", "heartbeat", "renew-lease", "progress"];
    reports.iter().any(|report| path.ends_with(report))
}

/// A job of the world's team, which is not due for a long time.
async fn job(world: &World) -> Result<String> {
    let asked = json!({"queue_name": "ours", "payload": 1, "scheduled_at": "2099-01-01T00:00:00Z"});
    let made = world.http.post("/api/v1/jobs", &asked).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    Ok(made.json()["id"].as_str().unwrap_or_default().to_owned())
}

/// A schedule of the jobs API that is not due for a long time, and a workflow of it.
async fn flows(world: &World) -> Result<(String, String)> {
    let http = &world.http;
    let asked = json!({"name": "ours", "cron_expression": "0 0 29 2 *", "queue_name": "ours", "payload_template": 1});
    let schedule = http.post("/api/v1/schedules", &asked).await?;
    assert_eq!(schedule.status, 201, "{}", schedule.text());
    let step = json!({"key": "a", "queue_name": "ours", "payload": 1});
    let asked = json!({"name": "ours", "jobs": [step]});
    let workflow = http.post("/api/v1/workflows", &asked).await?;
    assert_eq!(workflow.status, 201, "{}", workflow.text());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((
        text(&schedule.json()["id"]),
        text(&workflow.json()["workflow_id"]),
    ))
}

/// A saved view of the world's team.
async fn view(world: &World) -> Result<String> {
    let asked = json!({"page": "tasks", "name": "ours", "query": "queue=ours", "shared": true});
    let made = world.http.post("/v1/views", &asked).await?;
    let id = made.json()["view"]["id"].clone();
    Ok(id.as_str().unwrap_or_default().to_owned())
}

/// A body that would do for the route.
fn body(path: &str) -> Value {
    if path.starts_with("/api/v1/workers") {
        return json!({"queue_name": "ours", "hostname": "h", "current_jobs": 0});
    }
    if path.starts_with("/api/v1/schedules") {
        return json!({"name": "made by an attack", "cron_expression": "* * * * *", "queue_name": "ours", "payload_template": 1});
    }
    if path == "/api/v1/workflows" {
        let step = json!({"key": "a", "queue_name": "ours", "payload": 1});
        return json!({"name": "made by an attack", "jobs": [step]});
    }
    if path.starts_with("/api/v1/jobs") {
        return json!({"queue_name": "ours", "payload": 1, "jobs": [{"payload": 1}], "worker_id": "w", "lease_id": "l", "error": "x",
            "lease_duration_secs": 30, "progress": 1, "priority": 1, "confirm": true});
    }
    if path.starts_with("/api/v1/organizations") || path.starts_with("/api/v1/api-keys") {
        return json!({"name": "made by an attack"});
    }
    if path.ends_with("/stream-token") {
        return json!({});
    }
    if path.starts_with("/v1/tokens/") {
        return json!({"value": "made by an attack"});
    }
    if path.starts_with("/v1/schedules") && path.ends_with("/pause") {
        return json!({"reason": "made by an attack"});
    }
    if path.starts_with("/v1/schedules") {
        return json!({"when": "every 1s", "task": a_task()});
    }
    let without = ["/v1/claims/", "/v1/workers/", "/v1/listeners/"];
    if without.iter().any(|of| path.starts_with(of)) {
        return json!({});
    }
    if path == "/v1/workflows" {
        let step = json!({"name": "a", "task": a_task()});
        return json!({"name": "made by an attack", "tasks": [step]});
    }
    if path == "/v1/views" {
        return json!({"page": "tasks", "name": "made by an attack", "query": "", "shared": true});
    }
    let mut body = a_task();
    body["tasks"] = json!([a_task()]);
    body["name"] = json!("made by an attack");
    body["priority"] = json!(5);
    body
}

async fn with_scopes(world: &World, name: &str, scopes: &[String]) -> Result<(String, Http)> {
    let keys = format!("/teams/{}/apikeys", world.team);
    let made = world
        .http
        .post(&keys, &json!({"name": name, "scopes": scopes}))
        .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let key = &made.json()["apiKey"];
    let id = key["id"].as_str().expect("an id").to_owned();
    Ok((
        id,
        world.http.with_key(key["key"].as_str().expect("the key")),
    ))
}

/// Positions of what is stored: they stay when nothing is.
async fn stored(world: &World) -> Result<[StreamSeq; 2]> {
    Ok([
        world.log.bounds(Stream::Tasks).await?.last,
        world.log.bounds(Stream::Control).await?.last,
    ])
}

// K16, K17.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_read_changes_nothing_on_any_route() -> Result<()> {
    let world = World::start().await?;
    let mut reading: Vec<String> = routes()
        .into_iter()
        .filter_map(|route| route.scope)
        .filter(|scope| scope.ends_with(":read"))
        .collect();
    reading.sort();
    reading.dedup();
    let (_, reader) = with_scopes(&world, "reader", &reading).await?;
    let (victim, _) = with_scopes(&world, "victim", &reading).await?;
    let (job_schedule, job_workflow) = flows(&world).await?;
    let ids = Ids {
        task: world.http.create(&a_task()).await?,
        team: world.team.to_string(),
        key: victim,
        token: token(&world).await?,
        operation: operation(&world).await?,
        schedule: schedule(&world).await?,
        workflow: workflow(&world).await?,
        job: job(&world).await?,
        job_schedule,
        job_workflow,
        view: view(&world).await?,
    };
    let before = stored(&world).await?;
    let mut refused = 0;
    for route in routes() {
        let path = ids.fill(&route.path);
        let Some(scope) = route.scope.filter(|scope| !scope.ends_with(":read")) else {
            continue;
        };
        let answer = reader
            .send(route.method.clone(), &path, &[], body(&path).to_string())
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (403, lacking_scope(&path)),
            "{} {path}: {}",
            route.method,
            answer.text()
        );
        assert!(answer.error().contains(&scope), "{}", answer.error());
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert!(
            challenge.contains("insufficient_scope") && challenge.contains(&scope),
            "{challenge}"
        );
        refused += 1;
    }
    assert!(refused >= 6, "{refused} routes change something");
    for route in routes() {
        let reads = route.scope.is_some_and(|scope| scope.ends_with(":read"));
        assert!(
            !reads || route.method == Method::GET || ONLY_ASKS.contains(&route.path.as_str()),
            "{} {} reads by a method that changes",
            route.method,
            route.path
        );
    }
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    assert_eq!(world.http.task(&ids.task).await?["status"], "delayed");
    world.stop().await
}

// K13, API1.
#[tokio::test(flavor = "multi_thread")]
async fn another_team_gets_nothing_of_ours_by_any_route() -> Result<()> {
    let world = World::start().await?;
    let (_, stranger) = world.stranger().await?;
    let (victim, _) = with_scopes(&world, "of ours", &["tasks:read".to_owned()]).await?;
    let mut secret = a_task();
    secret["body"] = json!("only for us");
    secret["queue"] = json!("ours");
    let (job_schedule, job_workflow) = flows(&world).await?;
    let ids = Ids {
        task: world.http.create(&secret).await?,
        team: world.team.to_string(),
        key: victim,
        token: token(&world).await?,
        operation: operation(&world).await?,
        schedule: schedule(&world).await?,
        workflow: workflow(&world).await?,
        job: job(&world).await?,
        job_schedule,
        job_workflow,
        view: view(&world).await?,
    };
    let before = stored(&world).await?;
    let mut tried = 0;
    for route in routes() {
        // The name of a queue, of a limit or of a host means the stranger's own, whatever the method.
        let names = ["{name}", "{key}", "{host}"];
        let is_worker = route.path.starts_with("/api/v1/workers/");
        let is_named = is_worker || names.iter().any(|name| route.path.contains(name));
        if route.scope.is_none() || !route.path.contains('{') || is_named {
            continue;
        }
        let path = ids.fill(&route.path);
        let answer = stranger
            .send(route.method.clone(), &path, &[], body(&path).to_string())
            .await?;
        if route.path.starts_with("/api/v1/events/") {
            // A stream that says so and ends.
            let text = answer.text();
            assert!(
                text.contains("Job not found") && !text.contains("ours"),
                "{text}"
            );
            tried += 1;
            continue;
        }
        // An event is found by its position among all teams' events: a position that is not ours is not there.
        let expected = if route.path.contains("{seq}") {
            (404, "The team's activity has no such event")
        } else if route.path.contains("{tokenId}") {
            (404, "Token not found or already revoked")
        } else if route.path.starts_with("/v1/claims/") {
            // Only the owner of the partition knows whose a claim is.
            (404, "Claim not found")
        } else if route.path.starts_with("/v1/listeners/") {
            // They are looked up among those of the caller's team.
            (404, "Listener not found")
        } else if route.path.starts_with("/v1/views/") {
            (404, "View not found")
        } else if route.path.starts_with("/v1/workflows/") {
            // They are looked up among those of the caller's team.
            (404, "Workflow not found")
        } else if route.path.starts_with("/api/v1/api-keys/") {
            (404, "API key not found")
        } else if route.path.starts_with("/api/v1/organizations/") {
            (404, "Organization not found")
        } else if route.path.starts_with("/api/v1/schedules/") {
            (404, "Schedule not found")
        } else if route.path.starts_with("/api/v1/workflows/") {
            (404, "Workflow not found")
        } else if route.path.starts_with("/api/v1/jobs/") && settles(&route.path) {
            (404, "Job not found or not owned by worker")
        } else if route.path.starts_with("/api/v1/jobs/") {
            (404, "Job not found")
        } else {
            (403, "Access denied")
        };
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            expected,
            "{} {path}: {}",
            route.method,
            answer.text()
        );
        assert!(!answer.text().contains("ours"), "{}", answer.text());
        tried += 1;
    }
    assert!(tried >= 6, "{tried} routes name something");
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    // Nor do lists and filters that name it.
    for path in [
        "/v1/tasks".to_owned(),
        format!("/v1/tasks?q={}", ids.task),
        "/v1/tasks?queue=ours".to_owned(),
        format!("/v1/activity?taskId={}", ids.task),
        "/v1/activity".to_owned(),
        "/v1/activity?stream=control".to_owned(),
    ] {
        let answer = stranger.get(&path).await?;
        assert!(
            !answer.text().contains(&ids.task) && !answer.text().contains(&ids.key),
            "{path}: {}",
            answer.text()
        );
    }
    world.stop().await
}
