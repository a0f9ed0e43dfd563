//! Queues through the API: pauses and limits, who may decide them, and what is refused.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::Environment;
use waybill_testkit::http::{Answer, Http};

use crate::world::{World, a_task_for_now, operator};

/// A key of the team with these scopes.
async fn with_scopes(world: &World, environment: Environment, scopes: &[Scope]) -> Result<Http> {
    let wish = KeyWish {
        environment,
        ..KeyWish::new("queues", scopes)
    };
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok(world.http.with_key(made.key.reveal()))
}

async fn queue(http: &Http, name: &str) -> Result<Value> {
    let answer = http.get(&format!("/v1/queues/{name}")).await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()["queue"].clone())
}

async fn listed(http: &Http) -> Result<Vec<Value>> {
    let answer = http.get("/v1/queues").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let queues = answer.json()["queues"].clone();
    Ok(queues.as_array().context("a list")?.clone())
}

async fn bare(http: &Http, path: &str) -> Result<Value> {
    let answer = http.send(Method::POST, path, &[], "").await?;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Ok(answer.json()["queue"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_told_and_resumed() -> Result<()> {
    let world = World::start().await?;
    let missing = world.http.get("/v1/queues/default").await?;
    assert_eq!(missing.status, 404, "{}", missing.text());
    world.http.create(&a_task_for_now()).await?;
    let active = queue(&world.http, "default").await?;
    assert_eq!(active["state"], "active");
    assert_eq!(active["pause"], Value::Null);
    assert_eq!(active["counts"]["pending"], 1);

    let request = json!({"reason": "moving", "until": "2099-01-31T12:00:00+01:00"});
    let paused = world
        .http
        .post("/v1/queues/default/pause", &request)
        .await?;
    assert_eq!(paused.status, 200, "{}", paused.text());
    let paused = paused.json()["queue"].clone();
    assert_eq!(paused["state"], "paused");
    assert_eq!(paused["pause"]["reason"], "moving");
    assert_eq!(paused["pause"]["until"], "2099-01-31T11:00:00.000Z");
    let by = paused["pause"]["by"].as_str().context("by")?;
    assert!(by.starts_with("key:"), "{by}");
    let again = world
        .http
        .post("/v1/queues/default/pause", &request)
        .await?;
    assert_eq!(again.json()["queue"], paused, "nothing changed");
    let told = queue(&world.http, "default").await?;
    assert_eq!(told["pause"], paused["pause"]);
    assert_eq!(told["counts"]["pending"], 1);

    // A pause without a body has neither a reason nor an end.
    let anew = bare(&world.http, "/v1/queues/default/pause").await?;
    assert_eq!(anew["pause"]["reason"], Value::Null);
    assert_eq!(anew["pause"]["until"], Value::Null);
    assert_eq!(anew["pause"]["since"], paused["pause"]["since"]);
    // A queue may be paused before it has a task.
    bare(&world.http, "/v1/queues/a-new-one/pause").await?;
    let list = listed(&world.http).await?;
    let shown: Vec<_> = list
        .iter()
        .map(|queue| (queue["name"].as_str(), queue["state"].as_str()))
        .collect();
    let paused = Some("paused");
    assert_eq!(
        shown,
        [(Some("a-new-one"), paused), (Some("default"), paused)]
    );

    let resumed = bare(&world.http, "/v1/queues/default/resume").await?;
    assert_eq!(
        (&resumed["state"], &resumed["pause"]),
        (&json!("active"), &Value::Null)
    );
    bare(&world.http, "/v1/queues/default/resume").await?;
    bare(&world.http, "/v1/queues/a-new-one/resume").await?;
    assert_eq!(listed(&world.http).await?.len(), 1);

    let told = world.http.get("/v1/activity?type=queue.").await?;
    assert_eq!(told.status, 200, "{}", told.text());
    let entries = told.json()["activity"].clone();
    let entries = entries.as_array().context("entries")?;
    let kinds: Vec<_> = entries.iter().map(|entry| entry["type"].as_str()).collect();
    let (pause, resume) = (Some("queue.paused"), Some("queue.resumed"));
    assert_eq!(kinds, [resume, resume, pause, pause, pause]);
    let target = &entries[1]["target"];
    assert_eq!(
        (&target["kind"], &target["id"]),
        (&json!("queue"), &json!("default"))
    );
    assert_eq!(entries[1]["environment"], "live");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_replace_each_other_and_another_gateway_knows_them() -> Result<()> {
    let world = World::start().await?;
    let limits =
        json!({"concurrency": 5, "rate": {"limit": 100, "per": "1m", "burst": 10}, "weight": 3});
    let limits = limits.to_string();
    let json_body = [("content-type", "application/json")];
    let put = async |body: &str| -> Result<_> {
        world
            .http
            .send(Method::PUT, "/v1/queues/mail", &json_body, body.to_owned())
            .await
    };
    let set = put(&limits).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let set = set.json()["queue"].clone();
    assert_eq!(set["concurrency"], 5);
    assert_eq!(set["weight"], 3);
    assert_eq!(set["rate"], json!({"limit": 100, "per": 60, "burst": 10}));
    bare(&world.http, "/v1/queues/mail/pause").await?;
    let stop = CancellationToken::new();
    let another = world.another("another", &stop).await?;
    let elsewhere = Http::at(another.addr()).with_key(&world.key);
    let told = queue(&elsewhere, "mail").await?;
    assert_eq!(
        (&told["concurrency"], &told["rate"], &told["weight"]),
        (&set["concurrency"], &set["rate"], &set["weight"])
    );
    assert_eq!(told["state"], "paused", "limits leave the pause as it is");
    let without = put("{}").await?.json()["queue"].clone();
    assert_eq!(
        (&without["concurrency"], &without["rate"], &without["state"]),
        (&Value::Null, &Value::Null, &json!("paused"))
    );
    for (body, field, text) in [
        (
            r#"{"concurrency": 0}"#,
            "concurrency",
            "between 1 and 1000000",
        ),
        (r#"{"concurrency": -1}"#, "concurrency", "concurrency"),
        (r#"{"rate": {"per": "1m"}}"#, "rate.limit", "required"),
        (r#"{"rate": {"limit": 1}}"#, "rate.per", "required"),
        (
            r#"{"rate": {"limit": 1, "per": "2d"}}"#,
            "rate.per",
            "rate.per",
        ),
        (
            r#"{"rate": {"limit": 1, "per": 0.5}}"#,
            "rate.per",
            "between 1s and 24h",
        ),
        (r#"{"concurency": 3}"#, "concurency", "concurency"),
        (r#"{"weight": 0}"#, "weight", "between 1 and 100"),
        (r#"{"weight": 101}"#, "weight", "between 1 and 100"),
    ] {
        let refused = put(body).await?;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
        let error = refused.error();
        assert!(error.contains(text), "{error}");
    }
    stop.cancel();
    another.wait().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_decides_in_the_own_environment_and_team() -> Result<()> {
    let world = World::start().await?;
    let live = Environment::Live;
    let reads = with_scopes(&world, live, &[Scope::QueuesRead, Scope::TasksWrite]).await?;
    let writes = with_scopes(&world, live, &[Scope::QueuesWrite]).await?;
    let test = [Scope::QueuesRead, Scope::QueuesWrite];
    let test = with_scopes(&world, Environment::Test, &test).await?;
    bare(&writes, "/v1/queues/mail/pause").await?;
    assert_eq!(writes.get("/v1/queues/mail").await?.status, 403);
    assert_eq!(writes.get("/v1/queues").await?.status, 403);
    assert_eq!(queue(&reads, "mail").await?["state"], "paused");
    for path in ["/v1/queues/mail/resume", "/v1/queues/mail/pause"] {
        let refused = reads.send(Method::POST, path, &[], "").await?;
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(
            refused.error().contains("queues:write"),
            "{}",
            refused.error()
        );
    }
    assert_eq!(
        reads
            .send(Method::PUT, "/v1/queues/mail", &[], "{}")
            .await?
            .status,
        403
    );

    // The queue of that name in the other environment, or of another team, is another one.
    let (_, stranger) = world.stranger().await?;
    for other in [&test, &stranger] {
        assert_eq!(other.get("/v1/queues/mail").await?.status, 404);
        bare(other, "/v1/queues/mail/resume").await?;
    }
    assert_eq!(queue(&reads, "mail").await?["state"], "paused");
    for (path, body, field) in [
        ("/v1/queues/a.b/pause", "", "name"),
        ("/v1/queues/mail/pause", r#"{"until": "soon"}"#, "until"),
        (
            "/v1/queues/mail/pause",
            r#"{"until": "2020-01-01T00:00:00Z"}"#,
            "until",
        ),
        ("/v1/queues/mail/pause", r#"{"untill": null}"#, "untill"),
        (
            "/v1/queues/mail/pause",
            r#"{"reason": "a\u202eb"}"#,
            "reason",
        ),
    ] {
        let refused = writes.send(Method::POST, path, &[], body).await?;
        assert_eq!(refused.status, 400, "{path} {body}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
    }
    world.stop().await
}

async fn put(http: &Http, body: &Value, only_if: Option<&str>) -> Result<Answer> {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(only_if.map(|tag| ("if-match", tag)));
    let path = "/v1/queues/mail";
    http.send(Method::PUT, path, &headers, body.to_string())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_get_the_defaults_of_their_queue_and_a_repeated_request_stays_the_same() -> Result<()>
{
    let world = World::start().await?;
    let http = &world.http;
    let defaults = json!({
        "timeout": 20, "maxWaitTime": 40, "maxAttempts": 8, "retryBackoff": "linear", "minDelay": "5s", "maxAge": "6h"
    });
    let task = |more: Value| {
        let mut task = a_task_for_now();
        task["queue"] = json!("mail");
        for (name, value) in more.as_object().into_iter().flatten() {
            task[name] = value.clone();
        }
        task
    };
    let keyed = [
        ("idempotency-key", "k"),
        ("content-type", "application/json"),
    ];
    let first = task(json!({})).to_string();
    let create = async || {
        http.send(Method::POST, "/v1/tasks", &keyed, first.clone())
            .await
    };
    let before = create().await?;
    assert_eq!(before.status, 201, "{}", before.text());
    let set = put(http, &json!({ "defaults": defaults }), None).await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let shown = set.json()["queue"]["defaults"].clone();
    assert_eq!(
        (&shown["maxRetries"], &shown["maxAge"]),
        (&json!(7), &json!(21_600))
    );
    assert_eq!(queue(http, "mail").await?["defaults"], shown);

    // The same request as before the defaults, and the task as it was created.
    let again = create().await?;
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.task()["maxRetries"], before.task()["maxRetries"]);

    let made = http.post("/v1/tasks", &task(json!({}))).await?.task();
    let fields = [
        "timeout",
        "maxWaitTime",
        "maxRetries",
        "retryBackoff",
        "minDelay",
        "maxAge",
    ];
    let of = |task: &Value| fields.map(|field| task[field].clone());
    assert_eq!(
        of(&made),
        [
            json!(20),
            json!(40),
            json!(7),
            json!("linear"),
            json!(5),
            json!(21_600)
        ]
    );
    let own = task(json!({"timeout": 3, "maxRetries": 1, "retryBackoff": "fixed"}));
    let own = http.post("/v1/tasks", &own).await?.task();
    assert_eq!(
        of(&own),
        [
            json!(3),
            json!(30),
            json!(1),
            json!("fixed"),
            Value::Null,
            json!(21_600)
        ]
    );
    let batch = json!({ "tasks": [task(json!({}))] });
    let batch = http.post("/v1/tasks/batch", &batch).await?.json();
    assert_eq!(
        of(&batch["results"][0]["task"]),
        of(&made),
        "through every door"
    );

    // A key that was first used under defaults finds its task when there are none any more.
    let keyed = [
        ("idempotency-key", "later"),
        ("content-type", "application/json"),
    ];
    let later = async || {
        http.send(Method::POST, "/v1/tasks", &keyed, first.clone())
            .await
    };
    let under = later().await?;
    assert_eq!(under.task()["maxRetries"], 7);
    assert_eq!(put(http, &json!({}), None).await?.status, 200);
    let without = later().await?;
    assert_eq!(without.status, 201, "{}", without.text());
    assert_eq!(without.task()["id"], under.task()["id"]);

    for (defaults, field) in [
        (json!({"maxAttempts": 101}), "defaults.maxAttempts"),
        (
            json!({"timeout": 50, "maxWaitTime": 20}),
            "defaults.timeout",
        ),
        (json!({"retryBackoff": "often"}), "defaults.retryBackoff"),
    ] {
        let refused = put(http, &json!({ "defaults": defaults }), None).await?;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
    }
    let told = http.get("/v1/activity?type=queue.").await?.json();
    let kinds: Vec<_> = told["activity"]
        .as_array()
        .context("entries")?
        .iter()
        .collect();
    assert!(
        kinds
            .iter()
            .all(|entry| entry["type"] == "queue.defaults_changed"),
        "{told}"
    );
    assert_eq!(kinds.len(), 2);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_somebody_else_has_changed_are_not_overwritten() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let limits = |concurrency: u32| json!({ "concurrency": concurrency });
    let set = put(http, &limits(1), None).await?;
    let first = set.header("etag").context("a tag")?.to_owned();
    let read = http.get("/v1/queues/mail").await?;
    assert_eq!(read.header("etag"), Some(&*first));
    let second = put(http, &limits(2), Some(&first)).await?;
    assert_eq!(second.status, 200, "{}", second.text());
    let refused = put(http, &limits(3), Some(&first)).await?;
    assert_eq!(refused.status, 412, "{}", refused.text());
    assert_eq!(refused.code(), "precondition_failed");
    assert!(refused.error().contains("If-Match"), "{}", refused.error());
    assert_eq!(queue(http, "mail").await?["concurrency"], 2);
    assert_eq!(put(http, &limits(3), Some("*")).await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_told_by_queue_and_step_and_wrong_times_are_refused() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let mut task = a_task_for_now();
    for name in ["mail", "mail", "sms"] {
        task["queue"] = json!(name);
        http.create(&task).await?;
    }
    let id = http.create(&task).await?;
    let told = http.get("/v1/stats").await?;
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    assert_eq!(
        (&told["window"], &told["step"]),
        (&json!(3_600), &json!(10))
    );
    assert_eq!(told["all"]["accepted"], 4);
    let steps = told["all"]["steps"].as_array().context("steps")?;
    assert_eq!(steps.len(), 360);
    let sum: u64 = steps
        .iter()
        .filter_map(|step| step["accepted"].as_u64())
        .sum();
    assert_eq!(sum, 4);
    let accepted = |told: &Value| -> Vec<(String, Value)> {
        let queues = told["queues"].as_array().cloned().unwrap_or_default();
        let of = |queue: Value| {
            (
                queue["queue"].as_str().unwrap_or_default().to_owned(),
                queue["accepted"].clone(),
            )
        };
        queues.into_iter().map(of).collect()
    };
    assert_eq!(
        accepted(&told),
        [("mail".into(), json!(2)), ("sms".into(), json!(2))]
    );
    let one = http
        .get("/v1/stats?window=2d&step=1h&queue=sms")
        .await?
        .json();
    assert_eq!(accepted(&one), [("sms".into(), json!(2))]);
    assert_eq!(
        one["queues"][0]["steps"].as_array().context("steps")?.len(),
        48
    );
    for (query, field) in [
        ("window=31d", "window"),
        ("window=3h&step=10s", "step"),
        ("window=1h&step=7s", "step"),
        ("queue=a%20b", "queue"),
        ("window=2h&step=10s&queue=a&queue=b", "step"),
    ] {
        let refused = http.get(&format!("/v1/stats?{query}")).await?;
        assert_eq!(refused.status, 400, "{query}: {}", refused.text());
        assert_eq!(refused.json()["field"], field, "{}", refused.text());
    }
    let shown = queue(http, "sms").await?;
    let since = shown["oldestPendingSince"]
        .as_str()
        .context("pending ones")?;
    assert!(
        since
            <= http.task(&id).await?["createdAt"]
                .as_str()
                .context("a time")?
    );
    assert_eq!(shown["statistics"]["window"], 900);
    assert_eq!(shown["statistics"]["acceptedRate"], 0.002);
    assert_eq!(listed(http).await?[1]["statistics"], shown["statistics"]);
    world.stop().await
}

async fn nobody_says_what_blocks(http: &Http, id: &str) -> Result<()> {
    for path in [format!("/v1/tasks/{id}"), "/v1/tasks".to_owned()] {
        let answer = http.get(&path).await?;
        assert_eq!(answer.status, 200, "{}", answer.error());
        let told = answer.json();
        let task = told.get("task").unwrap_or(&told["tasks"][0]);
        assert_eq!(task.get("blockedBy"), Some(&Value::Null), "{told}");
        assert_eq!(told["warnings"][0]["field"], "blockedBy", "{told}");
    }
    Ok(())
}

/// Nothing runs without a worker, so a drained queue is so at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_a_running_task_is_drained_and_an_unknown_blocker_is_said() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let id = http.create(&a_task_for_now()).await?;
    let drained = bare(http, "/v1/queues/default/drain?wait=5").await?;
    assert_eq!(drained["state"], "drained");
    assert_eq!(drained["counts"]["pending"], 1);
    assert_eq!(listed(http).await?[0]["state"], "drained");
    let paused = bare(http, "/v1/queues/default/pause").await?;
    assert_eq!(paused["state"], "paused");
    let resumed = bare(http, "/v1/queues/default/resume").await?;
    assert_eq!(resumed["state"], "active");
    let long = http
        .send(Method::POST, "/v1/queues/default/drain?wait=26", &[], "")
        .await?;
    assert_eq!(
        (long.status.as_u16(), &long.json()["field"]),
        (400, &json!("wait"))
    );

    // There is no worker to say what keeps it from running.
    nobody_says_what_blocks(http, &id).await?;
    // Now there is one of a later version, whose words nobody here understands.
    let client = world.log.client();
    let mut requests = client.subscribe("wb.cmd.*").await?;
    client.flush().await?;
    let (asked, was_asked) = tokio::sync::watch::channel(());
    let worker = tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            asked.send_replace(());
            if let Some(to) = message.reply {
                client
                    .publish(to, Bytes::from_static(b"\xc1"))
                    .await
                    .expect("sent");
            }
        }
    });
    nobody_says_what_blocks(http, &id).await?;
    assert!(was_asked.has_changed()?, "the worker was asked");
    worker.abort();
    let mut later = a_task_for_now();
    later["delay"] = json!("1h");
    let later = http.create(&later).await?;
    let told = http.get(&format!("/v1/tasks/{later}")).await?.json();
    assert_eq!(told["task"]["blockedBy"]["kind"], "not_due");
    assert_eq!(
        told["task"]["blockedBy"]["until"],
        told["task"]["delayUntil"]
    );
    assert_eq!(told.get("warnings"), None);
    let few = http.get("/v1/tasks?fields=id,status").await?.json();
    assert_eq!(few.get("warnings"), None, "nobody was asked");
    world.stop().await
}
