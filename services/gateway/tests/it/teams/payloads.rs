//! Bodies and headers of tasks: who sees them, at every route that reads.

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::role::Role;
use waybill_domain::event::{
    Answer, BodyEncoding, Failure, FailureKind, TaskDead, TaskEvent, TaskStarted,
};
use waybill_domain::id::{TaskId, TeamId};
use waybill_testkit::http::Http;

use super::people::{Person, put, world_with};
use crate::owner;
use crate::world::World;

/// What nobody may see who does not see bodies and headers.
const CANARY: &str = "canary-in-a-payload";

/// How many routes are asked at once.
const AT_ONCE: usize = 16;

/// A task that has ended, with the canary in the bodies and headers of request and answer.
async fn ended(world: &World, http: &Http, team: &TeamId) -> Result<String> {
    let asked = json!({
        "targetUrl": "http://127.0.0.1:9/hook", "json": {"text": CANARY}, "headers": {"X-Canary": CANARY},
    });
    let id = http.create(&asked).await?;
    let parsed = TaskId::parse(&id).ok().context("an id")?;
    let (attempt, at) = (1, owner::now());
    let started = TaskEvent::Started(TaskStarted {
        id: parsed,
        attempt,
        at,
        lease_until: at,
        probe: false,
        claim: None,
        waits: Vec::new(),
    });
    owner::append(&world.log, team, &started).await?;
    let dead = TaskEvent::Dead(TaskDead {
        id: parsed,
        attempt,
        at,
        failure: Failure {
            kind: FailureKind::HttpStatus,
            message: "HTTP 500".into(),
        },
        answer: Some(Answer {
            status: 500,
            headers: vec![("X-Canary".into(), CANARY.into())],
            body: CANARY.into(),
            encoding: BodyEncoding::Text,
            body_bytes: CANARY.len() as u64,
            duration_ms: 1,
            header_bytes: None,
        }),
        cancels_to: None,
    });
    owner::append(&world.log, team, &dead).await?;
    http.task_when(&id, |task| task["status"] == "failed")
        .await?;
    Ok(id)
}

/// Every route that reads, as the description names it, filled with these ids; first those that are answered at once, then the streams.
fn reads(team: &TeamId, task: &str) -> (Vec<String>, Vec<String>) {
    let api = serde_json::to_value(waybill_gateway::openapi()).expect("JSON");
    let (mut answered, mut streams) = (Vec::new(), Vec::new());
    for (path, item) in api["paths"].as_object().expect("paths") {
        let read = &item["get"];
        // The streams of the jobs API tell of pulled tasks, and their events have no member for a body.
        if read.is_null() || path.starts_with("/api/v1/events") {
            continue;
        }
        let filled = path
            .replace("{id}", task)
            .replace("{teamId}", team.as_str())
            .replace("{name}", "default");
        let is_stream = read["responses"]["200"]["content"]["text/event-stream"].is_object();
        let list = if is_stream {
            &mut streams
        } else {
            &mut answered
        };
        list.push(filled);
    }
    answered.extend([
        format!("/v1/tasks/{task}/result?raw=true"),
        format!("/v1/tasks/{task}?wait=1"),
        "/v1/tasks?fields=headers,body,result".into(),
        "/v1/activity/export?format=jsonl".into(),
        "/v1/activity/export?format=csv".into(),
    ]);
    (answered, streams)
}

/// Where this caller finds the canary.
async fn found(http: &Http, team: &TeamId, task: &str) -> Result<Vec<String>> {
    let (answered, streams) = reads(team, task);
    assert!(answered.len() > 30, "{answered:?}");
    // Some of these routes wait, for an answer or a permit, so they are asked side by side.
    let answered = stream::iter(answered).map(async |path| {
        let answer = http.get(&path).await?;
        let headers = format!("{:?}", answer.headers);
        let is_there = answer.text().contains(CANARY) || headers.contains(CANARY);
        anyhow::Ok(is_there.then_some(path))
    });
    let answered: Vec<_> = answered.buffered(AT_ONCE).try_collect().await?;
    let mut found: Vec<_> = answered.into_iter().flatten().collect();
    for path in streams {
        // The activity names a place in both logs, and tells at least of the key.
        let (oldest, last) = if path.contains("activity") {
            ("0-0", "key.created")
        } else {
            ("0", "task.dead")
        };
        let mut events = http.events(&format!("{path}?after={oldest}"), None).await?;
        while let Some(event) = events.next().await? {
            let text = event.data.to_string();
            if text.contains(CANARY) {
                found.push(path.clone());
            }
            if event.name.starts_with(last) || text.contains(last) {
                break;
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_no_body_and_no_header_unless_an_owner_says_so() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    let viewer = Person::signed_in(&world, "vic").await?;
    viewer.joined(&world, &team, Role::Viewer).await?;
    let member = Person::signed_in(&world, "mel").await?;
    member.joined(&world, &team, Role::Member).await?;
    let admin = Person::signed_in(&world, "ada").await?;
    admin.joined(&world, &team, Role::Admin).await?;
    let wanted = json!({"name": "reads", "scopes": ["tasks:read", "activity:read"]});
    let made = ann
        .http
        .post(&format!("/teams/{team}/apikeys"), &wanted)
        .await?;
    let made: Value = made.json();
    let key = made["apiKey"]["key"].as_str().context("a key")?;
    let key = world.http.with_key(key);
    let task = ended(&world, &ann.http, &team).await?;

    // That the walk would find it is what makes the rest a proof.
    let shown = [
        "/v1/tasks".to_owned(),
        format!("/v1/tasks/{task}"),
        format!("/v1/tasks/{task}/result"),
        format!("/v1/tasks/{task}/result?raw=true"),
        format!("/v1/tasks/{task}?wait=1"),
        "/v1/tasks?fields=headers,body,result".to_owned(),
    ];
    assert_eq!(found(&ann.http, &team, &task).await?, shown);
    let by_member = member.http.get(&format!("/v1/tasks/{task}")).await?;
    assert!(by_member.text().contains(CANARY), "{}", by_member.text());
    let nothing = Vec::<String>::new();
    assert_eq!(found(&viewer.http, &team, &task).await?, nothing);
    let by_key = key.get(&format!("/v1/tasks/{task}")).await?;
    assert!(by_key.text().contains(CANARY), "{}", by_key.text());
    assert_eq!(by_key.task()["withheld"], Value::Null);

    let all = json!(["headers", "body", "result.headers", "result.body"]);
    let one = viewer.http.get(&format!("/v1/tasks/{task}")).await?;
    assert_eq!(one.task()["withheld"], all, "{}", one.text());
    assert_eq!(one.task()["result"]["statusCode"], 500);
    assert_eq!(one.task()["truncated"], Value::Null);
    let chosen = "/v1/tasks?fields=body,status";
    let chosen = viewer.http.get(chosen).await?.json();
    assert_eq!(chosen["tasks"][0]["withheld"], json!(["body"]), "{chosen}");
    let result = format!("/v1/tasks/{task}/result");
    let whole = viewer.http.get(&result).await?.json();
    assert_eq!(whole["withheld"], json!(["result.headers", "result.body"]));
    let raw = viewer.http.get(&format!("{result}?raw=true")).await?;
    assert_eq!(
        (raw.status.as_u16(), raw.code().as_str()),
        (403, "payload_withheld")
    );

    let policy = format!("/teams/{team}/payload-policy");
    let allow = json!({"viewersSeePayloads": true});
    let refused = put(&admin.http, &policy, &allow).await?;
    assert_eq!(refused.code(), "insufficient_role");
    let wrong = put(&ann.http, &policy, &json!({})).await?;
    assert_eq!(wrong.json()["field"], "viewersSeePayloads");
    let allowed = put(&ann.http, &policy, &allow).await?;
    assert_eq!(allowed.json()["team"]["viewersSeePayloads"], true);
    assert_eq!(found(&viewer.http, &team, &task).await?, shown);
    let again = json!({"viewersSeePayloads": false});
    put(&ann.http, &policy, &again).await?;
    assert_eq!(found(&viewer.http, &team, &task).await?, nothing, "at once");

    let activity = "/v1/activity?type=team.payload_policy_changed";
    let listed = waybill_testkit::eventually(crate::world::SOON, async || {
        let answer = ann.http.send(Method::GET, activity, &[], "").await;
        answer.is_ok_and(|answer| answer.text().matches("payload_policy_changed").count() >= 2)
    });
    listed.await?;
    world.stop().await
}
