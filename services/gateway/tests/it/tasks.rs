//! Creating, reading, listing, cancelling.

use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::team::{QueueDefaultsChange, TaskDefaultsChange, TeamCommand};
use waybill_domain::event::{
    Answer as TargetAnswer, AttemptFailed, Failure, FailureKind, TaskEvent, TaskStarted,
    TaskSucceeded,
};
use waybill_domain::id::TaskId;

use crate::owner::{self, Owner, Says};
use crate::world::{World, a_task, a_task_for_now, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_has_every_field_of_the_contract_and_is_read_at_once() -> Result<()> {
    let world = World::start().await?;
    let asked = json!({
        "targetUrl": "http://127.0.0.1:9/hook?x=1", "method": "PUT", "headers": {"X-B": "2", "X-A": "1"}, "body": "{\"a\":1}",
        "maxWaitTime": 60, "timeout": 1.5, "delayUntil": "2040-12-31T01:00:00+01:00", "maxRetries": 5, "retryBackoff": "linear",
        "priority": 9, "onCompleteUrl": "https://example.com/done", "queue": "mail", "colour": "ignored",
    });
    let made = world.http.post("/v1/tasks", &asked).await?;
    assert_eq!(made.status, 201, "{}", made.error());
    let task = made.task();
    let mut expected = json!({
        "id": task["id"], "teamId": world.team, "environment": "live", "status": "delayed", "queue": "mail", "targetUrl": "http://127.0.0.1:9/hook?x=1",
        "method": "PUT", "headers": {"X-B": "2", "X-A": "1"}, "body": "{\"a\":1}", "maxWaitTime": 60, "timeout": 1.5,
        "delayUntil": "2040-12-31T00:00:00.000Z", "maxRetries": 5, "retryCount": 0, "retryBackoff": "linear", "retryOn": null,
        "priority": 9, "followRedirects": false, "onCompleteUrl": "https://example.com/done", "resolve": null, "result": null, "cancelRequested": false, "error": null,
        "createdAt": task["createdAt"], "updatedAt": task["createdAt"], "startedAt": null, "completedAt": null, "bodyBytes": 7,
        "webhook": {"status": "pending", "attempts": 0, "statusCode": null, "error": null, "nextAttemptAt": null},
    });
    expected["jitter"] = json!("tenth");
    for absent in [
        "deadline",
        "expiresIn",
        "success",
        "ok",
        "endReason",
        "fairnessKey",
        "fairnessWeight",
        "orderingKey",
        "onFailure",
        "onRateLimited",
        "debounce",
        "singleton",
        "dedup",
        "minDelay",
        "maxDelay",
        "maxAge",
        "replayOf",
        "replayedAs",
        "supersededBy",
        "skippedFor",
        "duplicateOf",
    ] {
        expected[absent] = Value::Null;
    }
    (expected["tags"], expected["metadata"]) = (json!([]), json!({}));
    expected["limits"] = json!([]);
    assert_eq!(task, expected);
    let id = task["id"].as_str().expect("an id");
    let read = world.http.get(&format!("/v1/tasks/{id}")).await?;
    assert_eq!(read.status, 200, "{}", read.error());
    let mut read = read.task();
    assert_eq!(read["attempts"], json!([]));
    let more = read.as_object_mut().expect("an object");
    more.remove("attempts");
    let blocked_by = more.remove("blockedBy").expect("it waits");
    assert_eq!(blocked_by["kind"], "not_due");
    assert_eq!(read, expected, "a client reads its own write");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_filtered_paged_and_only_of_the_team() -> Result<()> {
    let world = World::start().await?;
    let (_, stranger) = world.stranger().await?;
    stranger.post("/v1/tasks", &a_task()).await?;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut task = a_task();
        task["queue"] = json!(if n % 2 == 0 { "even" } else { "odd" });
        let made = world.http.post("/v1/tasks", &task).await?.task();
        ids.push(made["id"].as_str().expect("an id").to_owned());
        // Read by id, so that lists are known to have it, too.
        world.http.get(&format!("/v1/tasks/{}", ids[n])).await?;
    }
    ids.reverse();
    let page = |answer: &Value| -> Vec<String> {
        let tasks = answer["tasks"].as_array().expect("tasks");
        tasks
            .iter()
            .map(|t| t["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = world.http.get("/v1/tasks?limit=2").await?.json();
    assert_eq!(page(&first), ids[..2]);
    assert_eq!(first["pagination"]["total"], 5);
    assert_eq!(first["pagination"]["hasMore"], true);
    assert_eq!(first["pagination"]["limit"], 2);
    let cursor = first["pagination"]["nextCursor"]
        .as_str()
        .expect("a cursor");
    let second = world
        .http
        .get(&format!("/v1/tasks?limit=2&cursor={cursor}"))
        .await?
        .json();
    assert_eq!(page(&second), ids[2..4]);
    let last = world.http.get("/v1/tasks?limit=2&offset=4").await?.json();
    assert_eq!(page(&last), ids[4..]);
    assert_eq!(last["pagination"]["hasMore"], false);
    let odd = world
        .http
        .get("/v1/tasks?queue=odd&status=delayed")
        .await?
        .json();
    assert_eq!(odd["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        world.http.get("/v1/tasks?status=completed").await?.json()["tasks"],
        json!([])
    );
    for several in [
        "status=completed,delayed&queue=odd",
        "status=completed&queue=odd&status=delayed",
        "status=delayed,pending&status=delayed&queue=odd",
    ] {
        let path = format!("/v1/tasks?{several}");
        let listed = world.http.get(&path).await?.json();
        assert_eq!(listed["pagination"]["total"], 2, "{several}: {listed}");
    }
    let mut patient = a_task();
    patient["maxWaitTime"] = json!(121);
    assert_eq!(world.http.post("/v1/tasks", &patient).await?.status, 201);
    let refused = stranger.post("/v1/tasks", &patient).await?;
    assert_eq!(
        refused.error(),
        "maxWaitTime must be more than 0 and at most 120 seconds, not 121",
        "the plan pro"
    );
    let all = stranger.get("/v1/tasks").await?.json();
    assert_eq!(all["pagination"]["total"], 1);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("status=nope", "status"),
        ("status=completed,nope", "status"),
        ("status=completed&status=nope", "status"),
        ("createdAfter=yesterday", "createdAfter"),
        ("offset=100000", "offset"),
        ("cursor=%00", "cursor"),
    ] {
        let refused = world.http.get(&format!("/v1/tasks?{query}")).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some(field)),
            "{query}: {}",
            refused.error()
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_tells_of_each_task() -> Result<()> {
    let world = World::start().await?;
    let bad = json!({"targetUrl": "ftp://x", "maxRetries": 3});
    let keyed = json!({"targetUrl": "http://127.0.0.1:9/", "idempotencyKey": "k1", "delayUntil": "2040-12-31T00:00:00Z"});
    let mixed = json!({"tasks": [a_task(), bad, keyed, {"targetUrl": 5}, a_task()]});
    let answer = world.http.post("/v1/tasks/batch", &mixed).await?;
    assert_eq!(answer.status, 207);
    let results = answer.json()["results"].clone();
    let statuses: Vec<_> = results
        .as_array()
        .expect("results")
        .iter()
        .map(|r| r["status"].as_u64())
        .collect();
    assert_eq!(statuses, [201, 400, 201, 400, 201].map(Some));
    assert_eq!(results[1]["field"], "targetUrl");
    assert_eq!(
        results[3]["error"],
        "targetUrl: invalid type: integer `5`, expected a string"
    );
    let again = world
        .http
        .post("/v1/tasks/batch", &json!({"tasks": [keyed]}))
        .await?;
    assert_eq!(again.status, 200);
    assert_eq!(again.json()["results"][0]["replayed"], true);
    assert_eq!(
        again.json()["results"][0]["task"]["id"],
        results[2]["task"]["id"]
    );
    let id = results[4]["task"]["id"].as_str().expect("an id");
    assert_eq!(
        world.http.get(&format!("/v1/tasks/{id}")).await?.status,
        200
    );

    let thousand = json!({"tasks": vec![a_task(); 1000]});
    let answer = world.http.post("/v1/tasks/batch", &thousand).await?;
    assert_eq!(answer.status, 200, "{}", answer.error());
    assert_eq!(
        answer.json()["results"].as_array().map(Vec::len),
        Some(1000)
    );
    for tasks in [json!([]), json!(vec![a_task(); 1001])] {
        let refused = world
            .http
            .post("/v1/tasks/batch", &json!({"tasks": tasks}))
            .await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].clone()),
            (400, json!("tasks"))
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_what_it_leaves_out_and_lets_its_reader_choose() -> Result<()> {
    let world = World::start().await?;
    let large = json!({"targetUrl": "http://127.0.0.1:9/", "body": "x".repeat(400_000), "delayUntil": "2040-12-31T00:00+0200"});
    for _ in 0..6 {
        world.http.create(&large).await?;
    }
    let list = world.http.get("/v1/tasks").await?.json();
    let tasks = list["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 6);
    let mut cut = 0;
    for task in tasks {
        if task["body"].is_null() {
            cut += 1;
            assert_eq!(task["truncated"], json!(["headers", "body"]), "{task}");
        } else {
            assert_eq!(task.get("truncated"), None);
        }
        // Also where it had no room and was not looked at.
        assert_eq!(task["bodyBytes"], 400_000);
    }
    assert!(cut > 0, "six of them have no room");

    let chosen = world.http.get("/v1/tasks?fields=status,targetUrl").await?;
    assert_eq!(chosen.status, 200, "{}", chosen.error());
    for task in chosen.json()["tasks"].as_array().expect("tasks") {
        let names: Vec<_> = task.as_object().expect("a task").keys().collect();
        assert_eq!(names, ["id", "status", "targetUrl"]);
    }
    let unknown = world.http.get("/v1/tasks?fields=status,colour").await?;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["field"]),
        (400, &json!("fields"))
    );
    // Every field that a list has can be chosen.
    let all: Vec<_> = tasks[0]
        .as_object()
        .expect("a task")
        .keys()
        .cloned()
        .collect();
    let path = format!("/v1/tasks?fields={}", all.join(","));
    let again = world.http.get(&path).await?;
    assert_eq!(again.status, 200, "{}", again.error());
    let given_up = world.http.get("/v1/tasks?webhook=given_up").await?;
    assert_eq!(given_up.json()["tasks"], json!([]));
    assert_eq!(world.http.get("/v1/tasks?webhook=lost").await?.status, 400);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_batch_is_one_for_each_of_its_tasks() -> Result<()> {
    let world = World::start().await?;
    let post = async |key: &str, tasks: &Value| {
        let headers = [("idempotency-key", key)];
        let body = json!({"tasks": tasks}).to_string();
        world
            .http
            .send(Method::POST, "/v1/tasks/batch", &headers, body)
            .await
    };
    let own = json!({"targetUrl": "http://127.0.0.1:9/", "idempotencyKey": "own", "delayUntil": "2040-12-31T00:00Z"});
    let tasks = json!([a_task(), a_task(), own]);
    let first = post("night-1", &tasks).await?;
    assert_eq!(first.status, 200, "{}", first.error());
    let ids = |answer: &Value| -> Vec<Value> {
        let results = answer["results"].as_array().expect("results");
        results
            .iter()
            .map(|result| result["task"]["id"].clone())
            .collect()
    };
    let again = post("night-1", &tasks).await?;
    assert_eq!(ids(&again.json()), ids(&first.json()));
    assert_eq!(again.json()["results"][1]["replayed"], true);
    let other = post("night-2", &tasks).await?;
    let (first, other) = (ids(&first.json()), ids(&other.json()));
    assert!(other[0] != first[0] && other[1] != first[1]);
    assert_eq!(
        other[2], first[2],
        "its own key goes before that of the batch"
    );
    let longer = post(
        "night-1",
        &json!([a_task(), {"targetUrl": "http://127.0.0.1:9/x"}, own, a_task()]),
    )
    .await?;
    let statuses: Vec<_> = longer.json()["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["status"].as_u64())
        .collect();
    assert_eq!(statuses, [201, 422, 201, 201].map(Some));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_asks_the_owner() -> Result<()> {
    let world = World::start().await?;
    let path = |task: &Value| format!("/v1/tasks/{}", task["id"].as_str().expect("an id"));
    let make = async || anyhow::Ok(world.http.post("/v1/tasks", &a_task()).await?.task());

    let orphan = make().await?;
    let refused = world
        .http
        .post(&format!("{}/cancel", path(&orphan)), &json!({}))
        .await?;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, Some("1")),
        "nobody owns the partition"
    );

    let owner = Owner::start(&world.log, Says::LaterYes).await?;
    let cancelled = world
        .http
        .post(&format!("{}/cancel", path(&orphan)), &json!({}))
        .await?;
    assert_eq!(
        (
            cancelled.status.as_u16(),
            cancelled.task()["status"].clone()
        ),
        (200, json!("cancelled"))
    );
    assert!(cancelled.task()["completedAt"].is_string());
    let again = world
        .http
        .send(Method::DELETE, &path(&orphan), &[], "")
        .await?;
    assert_eq!(
        (again.status.as_u16(), again.error()),
        (409, "Task cannot be cancelled (current: cancelled)".into())
    );
    drop(owner);

    let owner = Owner::start(&world.log, Says::Running).await?;
    let running = make().await?;
    let requested = world
        .http
        .send(Method::DELETE, &path(&running), &[], "")
        .await?;
    assert_eq!(requested.status, 200);
    assert_eq!(requested.task()["status"], "processing");
    assert_eq!(requested.task()["cancelRequested"], true);
    drop(owner);

    let owner = Owner::start(&world.log, Says::Never).await?;
    let refused = world
        .http
        .send(Method::DELETE, &path(&running), &[], "")
        .await?;
    assert_eq!(refused.status, 503);
    drop(owner);

    let _owner = Owner::start(&world.log, Says::Yes).await?;
    let deleted = world
        .http
        .send(Method::DELETE, &path(&running), &[], "")
        .await?;
    assert_eq!(
        (deleted.status.as_u16(), deleted.task()["status"].clone()),
        (200, json!("cancelled"))
    );
    let (_, stranger) = world.stranger().await?;
    let foreign = stranger
        .send(Method::DELETE, &path(&make().await?), &[], "")
        .await?;
    assert_eq!(
        (foreign.status.as_u16(), foreign.error()),
        (403, "Access denied".into())
    );
    for id in [
        "task_x",
        "task_00000000000000000000000000zz",
        "%00",
        "..%2f..",
    ] {
        let missing = world
            .http
            .send(Method::DELETE, &format!("/v1/tasks/{id}"), &[], "")
            .await?;
        assert_eq!(
            (missing.status.as_u16(), missing.error()),
            (404, "Task not found".into()),
            "{id}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_the_status_changes() -> Result<()> {
    let world = World::start().await?;
    let made = world
        .http
        .post("/v1/tasks", &a_task_for_now())
        .await?
        .task();
    let text = made["id"].as_str().expect("an id").to_owned();
    let id = TaskId::parse(&text)?;
    let path = format!("/v1/tasks/{text}?wait=25");
    let start = Instant::now();
    let short = world.http.get(&format!("/v1/tasks/{text}?wait=1")).await?;
    assert_eq!(short.task()["status"], "pending");
    assert!(start.elapsed() >= Duration::from_secs(1));

    let mut waiting = tokio::spawn({
        let (http, path) = (world.http.clone(), path.clone());
        async move { http.get(&path).await }
    });
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "nothing has changed yet");
    let at = owner::now();
    let started = TaskStarted {
        id,
        attempt: 1,
        at,
        lease_until: at,
        probe: false,
        claim: None,
        waits: Vec::new(),
    };
    owner::append(&world.log, &world.team, &TaskEvent::Started(started)).await?;
    let answer = waiting.await??;
    assert_eq!(answer.task()["status"], "processing");
    let early = world.http.get(&format!("/v1/tasks/{text}/result")).await?;
    assert_eq!(
        (early.status.as_u16(), early.json()["code"].clone()),
        (404, json!("no_result"))
    );
    let mut until_the_end = tokio::spawn({
        let (http, path) = (world.http.clone(), format!("{path}&for=end"));
        async move { http.get(&path).await }
    });
    let failed = AttemptFailed {
        id,
        attempt: 1,
        at,
        failure: Failure {
            kind: FailureKind::Connect,
            message: "no connection".into(),
        },
        answer: None,
        retry_at: at,
        counted: true,
    };
    owner::append(&world.log, &world.team, &TaskEvent::AttemptFailed(failed)).await?;
    let early = tokio::time::timeout(Duration::from_millis(300), &mut until_the_end).await;
    assert!(early.is_err(), "another status is no end");

    let answer = TargetAnswer {
        status: 200,
        headers: vec![("x-a".into(), "b".into())],
        body: "done".into(),
        encoding: Default::default(),
        body_bytes: 4,
        duration_ms: 12,
        header_bytes: None,
    };
    let succeeded = TaskSucceeded {
        ok: None,
        id,
        attempt: 1,
        at,
        answer,
    };
    owner::append(&world.log, &world.team, &TaskEvent::Succeeded(succeeded)).await?;
    assert_eq!(until_the_end.await??.task()["status"], "completed");
    let ended = world.http.get(&path).await?.task();
    assert_eq!(ended["status"], "completed");
    assert_eq!(
        ended["result"],
        json!({"statusCode": 200, "headers": {"x-a": "b"}, "body": "done", "bodyBytes": 4, "duration": 12, "ok": true})
    );
    assert_eq!(ended["attempts"][0]["statusCode"], 200);
    let result = world.http.get(&format!("/v1/tasks/{text}/result")).await?;
    assert_eq!(
        result.json(),
        json!({"id": text, "status": "completed", "result": ended["result"]})
    );
    let raw = world
        .http
        .get(&format!("/v1/tasks/{text}/result?raw=true"))
        .await?;
    assert_eq!((raw.status.as_u16(), raw.text()), (200, "done".to_owned()));
    assert_eq!(raw.header("content-disposition"), Some("attachment"));
    let start = Instant::now();
    world.http.get(&path).await?;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "a task that has ended is not waited for"
    );
    for (query, field) in [("wait=26", "wait"), ("wait=1&for=ever", "for")] {
        let refused = world.http.get(&format!("/v1/tasks/{text}?{query}")).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].clone()),
            (400, json!(field)),
            "{query}: {}",
            refused.error()
        );
    }
    world.stop().await
}

#[tokio::test]
async fn what_was_answered_is_in_the_next_list() -> Result<()> {
    let world = World::start().await?;
    for number in 0..20 {
        let url = format!("https://example.com/{number}");
        let created = world
            .http
            .post("/v1/tasks", &json!({"targetUrl": url}))
            .await?;
        assert_eq!(created.status, 201);
        let listed = world.http.get("/v1/tasks?limit=1").await?;
        assert_eq!(listed.json()["tasks"][0]["id"], created.task()["id"]);
    }
    Ok(())
}

/// A team's defaults are part of each task that says nothing itself, and of no fingerprint.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_says_nothing_is_as_its_team_wants_it() -> Result<()> {
    let world = World::start().await?;
    let keyed = async || {
        let key = [("idempotency-key", "once")];
        let task = a_task().to_string();
        world.http.send(Method::POST, "/v1/tasks", &key, task).await
    };
    let before = keyed().await?;
    assert_eq!(before.task()["success"], Value::Null);
    let of_queue = QueueDefaultsChange {
        success: Some("2xx,404".into()),
        retry_on: None,
    };
    let command = TeamCommand::ChangeTaskDefaults(Box::new(TaskDefaultsChange {
        success: Some("2xx".into()),
        retry_on: Some(vec!["503".into()]),
        webhook_pauses: Some(vec![1, 2]),
        queues: vec![("mail".into(), of_queue)],
    }));
    let changed = world
        .writer()
        .run_team(&world.team, command, &operator())
        .await?;
    world
        .gateway
        .state()
        .settle(changed.version)
        .await
        .map_err(|late| anyhow::anyhow!("{late}"))?;
    let silent = world.http.post("/v1/tasks", &a_task()).await?.task();
    assert_eq!(silent["success"], "2xx");
    assert_eq!(silent["retryOn"], json!(["503"]));
    let mut mail = a_task();
    mail["queue"] = json!("mail");
    let queued = world.http.post("/v1/tasks", &mail).await?.task();
    assert_eq!(queued["success"], "2xx,404", "a queue goes before its team");
    assert_eq!(queued["retryOn"], json!(["503"]), "it says nothing");
    mail["success"] = json!("201");
    mail["retryOn"] = json!(["timeout"]);
    let own = world.http.post("/v1/tasks", &mail).await?.task();
    assert_eq!(own["success"], "201", "a task goes before both");
    assert_eq!(own["retryOn"], json!(["timeout"]));
    let again = keyed().await?;
    assert_eq!(again.task()["id"], before.task()["id"], "the same request");
    world.stop().await
}
