//! Schedules: whoever runs them, every instant has an outcome, and none has two tasks.

mod refused;
mod takeover;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_commands::Author;
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, ScheduleSet};
use waybill_domain::id::{Environment, ScheduleId};
use waybill_domain::recurring::{CatchUp, Overlap};
use waybill_domain::time::Timestamp;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use crate::world::{SOON, World};

/// Every second; nobody runs its tasks here, so they overlap.
pub(crate) fn each_second() -> Value {
    json!({
        "when": "every 1s",
        "overlap": "allow",
        "task": {"targetUrl": "http://127.0.0.1:9/hook", "json": {"due": "{{run.dueAt}}"}},
    })
}

/// Creates a schedule and returns its id.
pub(crate) async fn begin(http: &Http, request: &Value) -> Result<String> {
    let made = http.post("/v1/schedules", request).await?;
    ensure!(made.status == 201, "{}", made.text());
    let id = made.json()["schedule"]["id"].clone();
    Ok(id.as_str().context("an id")?.to_owned())
}

/// All entries of its ledger, latest first.
pub(crate) async fn ledger(http: &Http, id: &str) -> Result<Vec<Value>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/schedules/{id}/runs?limit=7{cursor}");
        let answer = http.get(&path).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        let page = answer.json();
        all.extend(page["runs"].as_array().context("runs")?.iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(all),
        }
    }
}

pub(crate) fn millis(date: &Value) -> i64 {
    let date = Timestamp::parse_rfc3339(date.as_str().expect("a date"));
    date.expect("a date").0
}

/// The instants of its own that fired, with their tasks.
pub(crate) fn fired(ledger: &[Value]) -> Vec<(i64, String)> {
    let fired = ledger
        .iter()
        .filter(|run| run["outcome"] == "fired" && run["manual"] == false);
    let fired = fired.map(|run| {
        let task = run["taskId"].as_str().expect("a task");
        (millis(&run["dueAt"]), task.to_owned())
    });
    fired.collect()
}

/// Each second from the first to the last has one task.
pub(crate) fn is_whole(fired: &[(i64, String)]) -> Result<()> {
    let mut once: BTreeMap<i64, &str> = BTreeMap::new();
    for (due, task) in fired {
        if let Some(other) = once.insert(*due, task) {
            anyhow::bail!("{due} has {other} and {task}");
        }
    }
    for (one, next) in once.keys().zip(once.keys().skip(1)) {
        ensure!(next - one == 1_000, "nothing between {one} and {next}");
    }
    Ok(())
}

/// Waits until so many instants have fired.
pub(crate) async fn until_fired(http: &Http, id: &str, count: usize) -> Result<Vec<Value>> {
    eventually(SOON * 2, async || {
        let ledger = ledger(http, id).await;
        ledger.is_ok_and(|ledger| fired(&ledger).len() >= count)
    })
    .await?;
    ledger(http, id).await
}

async fn steer(http: &Http, id: &str, how: &str, body: &str) -> Result<Value> {
    let path = format!("/v1/schedules/{id}/{how}");
    let answer = http.send(Method::POST, &path, &[], body.to_owned()).await?;
    ensure!(answer.status.is_success(), "{}", answer.text());
    Ok(answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_fires_once_and_its_task_says_which() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let id = begin(http, &each_second()).await?;
    let runs = until_fired(http, &id, 3).await?;
    is_whole(&fired(&runs))?;
    let task = runs[0]["taskId"].as_str().context("a task")?;
    let task = http.task(task).await?;
    assert_eq!(task["schedule"]["id"], json!(id));
    assert_eq!(task["schedule"]["dueAt"], runs[0]["dueAt"]);
    assert_eq!(task["schedule"]["runId"], runs[0]["runId"]);
    let body: Value = serde_json::from_str(task["body"].as_str().context("a body")?)?;
    assert_eq!(body["due"], runs[0]["dueAt"]);

    let read = http.get(&format!("/v1/schedules/{id}")).await?;
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert_ne!(read.json()["schedule"]["nextDueAt"], Value::Null);
    let listed = http.get("/v1/schedules?limit=1").await?.json();
    assert_eq!(listed["schedules"][0]["id"], json!(id));
    let next = http
        .get(&format!("/v1/schedules/{id}/next?limit=3"))
        .await?
        .json();
    let next: Vec<_> = next["next"].as_array().context("next")?.clone();
    assert_eq!(next.len(), 3);
    assert_eq!(millis(&next[2]["dueAt"]) - millis(&next[0]["dueAt"]), 2_000);

    // The next version, once.
    let path = format!("/v1/schedules/{id}");
    // The text of each run differs, also of one that is asked for twice.
    let task = json!({"targetUrl": "http://127.0.0.1:9/hook", "body": "{{run.dueAt}}"});
    let hourly = json!({"when": "every 1h", "task": task});
    let put = async |tag: &str| {
        let tag = [("If-Match", tag)];
        http.send(Method::PUT, &path, &tag, hourly.to_string())
            .await
    };
    assert_eq!(put("\"7\"").await?.status, 412);
    let replaced = put("\"1\"").await?;
    assert_eq!(replaced.status, 200, "{}", replaced.text());
    assert_eq!(replaced.json()["schedule"]["version"], 2);
    let same = put("\"2\"").await?;
    assert_eq!(same.json()["schedule"]["version"], 2, "the same");

    // One by hand, once for its key.
    let trigger = async || {
        let path = format!("/v1/schedules/{id}/trigger");
        let key = [("Idempotency-Key", "now")];
        http.send(Method::POST, &path, &key, "").await
    };
    let first = trigger().await?;
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(first.json()["task"]["schedule"]["manual"], true);
    let again = trigger().await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["task"]["id"], first.json()["task"]["id"]);
    // The schedule may be another one by then.
    let other = json!({"when": "every 2h", "task": {"targetUrl": "http://127.0.0.1:9/other"}});
    let tag = [("If-Match", "\"2\"")];
    let set = http.send(Method::PUT, &path, &tag, other.to_string());
    assert_eq!(set.await?.json()["schedule"]["version"], 3);
    let again = trigger().await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["task"]["id"], first.json()["task"]["id"]);
    let manual = ledger(http, &id).await?;
    let manual = manual.iter().filter(|run| run["manual"] == true);
    assert_eq!(manual.count(), 1);

    let (_, stranger) = world.stranger().await?;
    assert_eq!(stranger.get(&path).await?.status, 403);
    let gone = http.send(Method::DELETE, &path, &[], "").await?;
    assert_eq!(gone.status, 204, "{}", gone.text());
    assert_eq!(http.get(&path).await?.status, 404);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_in_a_pause_is_told_as_paused_and_has_no_task() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let id = begin(http, &each_second()).await?;
    until_fired(http, &id, 1).await?;
    let paused = steer(http, &id, "pause", r#"{"reason": "the receiver moves"}"#).await?;
    let since = millis(&paused["schedule"]["pause"]["since"]);
    assert_eq!(paused["schedule"]["nextDueAt"], Value::Null);
    // Until at least one instant of the pause has passed.
    eventually(SOON, async || {
        let next = http.get(&format!("/v1/schedules/{id}/next?limit=1")).await;
        next.is_ok_and(|next| millis(&next.json()["next"][0]["dueAt"]) > since + 2_000)
    })
    .await?;
    let before = fired(&ledger(http, &id).await?).len();
    steer(http, &id, "trigger", "").await?;
    steer(http, &id, "resume", "").await?;
    let runs = until_fired(http, &id, before + 2).await?;
    let told: Vec<_> = runs
        .iter()
        .filter(|run| run["outcome"] == "paused")
        .collect();
    assert_eq!(told.len(), 1, "{runs:?}");
    let from = millis(&told[0]["dueAt"]);
    let count = told[0]["count"].as_i64().context("a count")?;
    assert!(from >= since && count >= 2, "{told:?}");
    let in_pause = from..from + count * 1_000;
    for (due, task) in fired(&runs) {
        assert!(!in_pause.contains(&due), "{task} was made in the pause");
    }
    world.stop().await
}

/// A schedule that was set an hour and a minute ago, while nothing ran schedules.
async fn set_before(world: &World, number: u128, catch_up: CatchUp) -> Result<String> {
    let now = waybill_commands::entropy::now();
    let id = ScheduleId::new(now, number);
    let event = ControlEvent::ScheduleSet(Box::new(ScheduleSet {
        schedule: id.clone(),
        team: world.team.clone(),
        environment: Environment::Live,
        version: 1,
        name: None,
        when: "every 10m".into(),
        zone: "UTC".into(),
        zones: "2026c".into(),
        from: None,
        // Not one that is due while the test runs.
        until: Some(Timestamp(now.0 - 120_000)),
        overlap: Overlap::Allow,
        catch_up,
        jitter_ms: 0,
        task: r#"{"targetUrl": "http://127.0.0.1:9/hook"}"#.into(),
        set_by: "operator:test".into(),
        at: Timestamp(now.0 - 3_720_000),
        job: None,
    }));
    let by = Author::from(Actor::Operator("test".into()));
    world.writer().note(&event, &by).await?;
    Ok(id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_caught_up_as_the_policy_says_and_told() -> Result<()> {
    let world = World::start().await?;
    let two = CatchUp::All {
        most: 2,
        within_ms: 3_000_000,
    };
    for (number, catch_up, caught_up) in [(1, CatchUp::None, 0), (2, CatchUp::Last, 1), (3, two, 2)]
    {
        let id = set_before(&world, number, catch_up).await?;
        eventually(SOON, async || {
            let ledger = ledger(&world.http, &id).await.unwrap_or_default();
            let count = |run: &Value| run["count"].as_u64().unwrap_or_default();
            ledger.iter().map(count).sum::<u64>() == 6
        })
        .await?;
        let runs = ledger(&world.http, &id).await?;
        let fired = fired(&runs);
        assert_eq!(fired.len(), caught_up, "{runs:?}");
        let missed = runs.iter().filter(|run| run["outcome"] == "missed");
        let missed: Vec<_> = missed.collect();
        assert_eq!(missed.len(), 1, "{runs:?}");
        let last = missed[0].get("to").unwrap_or(&missed[0]["dueAt"]);
        assert!(
            fired.iter().all(|(due, _)| *due > millis(last)),
            "the last ones are caught up: {runs:?}"
        );
    }
    world.stop().await
}
