//! Dead letters, and the filters that they share with tasks.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::key::ApiKey;
use waybill_domain::id::TaskId;

use crate::owner;
use crate::world::{World, a_task};

async fn dead(world: &World, task: &Value, status: u16, error: &str) -> Result<String> {
    let id = world.http.create(task).await?;
    let parsed = TaskId::parse(&id).expect("an id");
    owner::die(&world.log, &world.team, parsed, status, error).await?;
    let ends = |task: &Value| task["status"] == "failed";
    world.http.task_when(&id, ends).await?;
    Ok(id)
}

fn task(host: &str, tag: &str) -> Value {
    json!({"targetUrl": format!("http://{host}/hook"), "tags": [tag]})
}

fn ids(answer: &Value, list: &str) -> Vec<String> {
    let rows = answer[list].as_array().expect("a list").iter();
    rows.map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_grouped_and_retried_once() -> Result<()> {
    let world = World::start().await?;
    world.http.create(&a_task()).await?;
    let mut all = Vec::new();
    for (host, tag, status, error) in [
        ("127.0.0.1:9", "a", 503, "HTTP 503: order 17 is locked"),
        ("127.0.0.1:9", "a", 503, "HTTP 503: order 18 is locked"),
        ("127.0.0.1:10", "b", 400, "HTTP 400: \"x\" is no order"),
    ] {
        all.insert(0, dead(&world, &task(host, tag), status, error).await?);
    }
    let list = async |query: &str| -> Result<Vec<String>> {
        let answer = world.http.get(&format!("/v1/dead-letters{query}")).await?;
        assert_eq!(answer.status, 200, "{query}: {}", answer.error());
        Ok(ids(&answer.json(), "deadLetters"))
    };
    assert_eq!(list("").await?, all);
    let key = ApiKey::parse(&world.key).context("a key")?;
    let mine = format!("?actor={}", key.id());
    let one = format!("?q={}&actor=key:{}", all[1], key.id());
    for (query, wanted) in [
        ("?host=127.0.0.1:10", &all[..1]),
        ("?host=127.0.0.1", &all[..]),
        ("?host=127.0.0.1:10&host=other.example", &all[..1]),
        ("?httpStatus=5xx", &all[1..]),
        ("?httpStatus=400&httpStatus=404", &all[..1]),
        ("?errorContains=ORDER+18", &all[1..2]),
        ("?tag=a", &all[1..]),
        ("?minAttempts=2", &all[..0]),
        ("?completedBefore=2020-01-01T00:00:00Z", &all[..0]),
        ("?queue=default&queue=other", &all[..]),
        (mine.as_str(), &all[..]),
        ("?actor=system:worker", &all[..0]),
        ("?q=HOOK", &all[..]),
        (one.as_str(), &all[1..2]),
    ] {
        assert_eq!(list(query).await?, wanted, "{query}");
        let tasks = world
            .http
            .get(&format!("/v1/tasks{query}&status=failed"))
            .await?;
        assert_eq!(ids(&tasks.json(), "tasks"), wanted, "tasks{query}");
        assert_eq!(tasks.json()["searched"]["complete"], true, "tasks{query}");
    }
    let indexed = world
        .http
        .get("/v1/tasks?status=failed&queue=default")
        .await?;
    assert!(indexed.json().get("searched").is_none());
    let first = world.http.get("/v1/dead-letters?limit=2").await?.json();
    assert_eq!(ids(&first, "deadLetters"), all[..2]);
    let cursor = first["pagination"]["nextCursor"]
        .as_str()
        .expect("a cursor");
    assert_eq!(list(&format!("?cursor={cursor}")).await?, all[2..]);

    let groups = world.http.get("/v1/dead-letters/groups").await?.json();
    assert_eq!(
        (&groups["total"], &groups["truncated"]),
        (&json!(3), &json!(false))
    );
    let group = &groups["groups"][0];
    assert_eq!(
        (
            &group["host"],
            &group["httpStatus"],
            &group["count"],
            &group["error"]
        ),
        (
            &json!("127.0.0.1:9"),
            &json!(503),
            &json!(2),
            &json!("HTTP <n>: order <n> is locked")
        )
    );
    assert_eq!(groups["groups"][1]["error"], "HTTP <n>: <text> is no order");
    let one = world
        .http
        .get("/v1/dead-letters/groups?limit=1")
        .await?
        .json();
    assert_eq!(
        (&one["others"], &one["truncated"]),
        (&json!(1), &json!(true))
    );

    let retry = format!("/v1/dead-letters/{}/retry", all[0]);
    let made = world.http.send(Method::POST, &retry, &[], "").await?;
    assert_eq!(made.status, 201, "{}", made.error());
    assert_eq!(made.task()["replayOf"], json!(all[0]));
    let again = world.http.send(Method::POST, &retry, &[], "").await?;
    assert_eq!(
        (again.status.as_u16(), again.task()["id"].clone()),
        (201, made.task()["id"].clone())
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(list("").await?, all[1..]);
    assert_eq!(list("?retried=true").await?, all);
    let retried = world
        .http
        .get("/v1/dead-letters?retried=true")
        .await?
        .json();
    assert_eq!(retried["deadLetters"][0]["retriedAs"], made.task()["id"]);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_dead_letter_of_the_team_is_not_found() -> Result<()> {
    let world = World::start().await?;
    let open = world.http.create(&a_task()).await?;
    let letter = dead(&world, &task("127.0.0.1:9", "a"), 500, "it broke").await?;
    let (_, stranger) = world.stranger().await?;
    let retry = |id: &str| format!("/v1/dead-letters/{id}/retry");
    for (http, id, status) in [
        (&world.http, open.as_str(), 404),
        (&world.http, "task_0000000000000000000000000000", 404),
        // As for every task of another team.
        (&stranger, letter.as_str(), 403),
    ] {
        let refused = http.post(&retry(id), &json!({})).await?;
        assert_eq!(refused.status, status, "{id}: {}", refused.text());
    }
    let none = stranger.get("/v1/dead-letters").await?.json();
    assert_eq!(none["deadLetters"], json!([]));
    for (query, field) in [
        ("limit=0", "limit"),
        ("httpStatus=abc", "httpStatus"),
        ("retried=maybe", "retried"),
        ("minAttempts=-1", "minAttempts"),
        ("createdAfter=yesterday", "createdAfter"),
        ("queue=a+b", "queue"),
        ("actor=nobody", "actor"),
    ] {
        for path in ["/v1/dead-letters", "/v1/dead-letters/groups"] {
            let refused = world.http.get(&format!("{path}?{query}")).await?;
            assert_eq!(refused.status, 400, "{path}?{query}");
            assert_eq!(refused.json()["field"], field, "{path}?{query}");
        }
    }
    world.stop().await
}
