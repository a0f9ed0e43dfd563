//! What is refused, and how that is said.

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_log::Leases;

use super::{begin, dead, over, steer};
use crate::world::{World, operator};

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_is_refused_by_the_name_of_its_field() -> Result<()> {
    let world = World::start().await?;
    let no_end = "x".repeat(1_025);
    let many = vec!["task_0000000000000000000000000000"; 1_001];
    for (request, field) in [
        (json!({"filter": {}}), "action"),
        (json!({"action": "retry"}), "filter"),
        (json!({"action": "retry", "filter": {}, "ids": []}), "ids"),
        (json!({"action": "retry", "ids": []}), "ids"),
        (json!({"action": "retry", "ids": many}), "ids"),
        (json!({"action": "retry", "ids": ["x"]}), "ids[0]"),
        (json!({"action": "retry", "filter": {}, "rate": 0}), "rate"),
        (
            json!({"action": "retry", "filter": {}, "rate": 1_001}),
            "rate",
        ),
        (
            json!({"action": "retry", "filter": {}, "reason": "x".repeat(501)}),
            "reason",
        ),
        (
            json!({"action": "retry", "filter": {"queue": ""}}),
            "filter.queue",
        ),
        (
            json!({"action": "retry", "filter": {"status": "completed"}}),
            "filter.status",
        ),
        (
            json!({"action": "replay", "filter": {"status": "pending"}}),
            "filter.status",
        ),
        (
            json!({"action": "cancel", "filter": {"status": "failed"}}),
            "filter.status",
        ),
        (
            json!({"action": "cancel", "filter": {"createdAfter": "now"}}),
            "filter.createdAfter",
        ),
        (
            json!({"action": "cancel", "filter": {"q": no_end}}),
            "filter.q",
        ),
    ] {
        for path in ["/v1/operations", "/v1/operations/preview"] {
            let refused = world.http.post(path, &request).await?;
            assert_eq!(refused.status, 400, "{path} {request}: {}", refused.text());
            assert_eq!(
                refused.json()["field"],
                field,
                "{path} {request}: {}",
                refused.text()
            );
        }
    }
    // Of another shape, or with members that would have no effect: as the parser says.
    for request in [
        json!({"action": "destroy", "filter": {}}),
        json!({"action": "retry", "filter": {"limit": 3}}),
        json!({"action": "retry", "filter": {"queue": null}}),
        json!({"action": "retry", "filter": {}, "preview": true}),
        json!({"action": "retry", "filter": {}, "rate": -1}),
        json!([]),
    ] {
        let refused = world.http.post("/v1/operations", &request).await?;
        assert_eq!(refused.status, 400, "{request}: {}", refused.text());
    }
    let none = world.http.get("/v1/operations").await?.json();
    assert_eq!(none["operations"], json!([]), "nothing was begun");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_or_not_ours_cannot_be_steered() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    for _ in 0..3 {
        dead(&world, "a").await?;
    }
    let about = json!({"action": "retry", "filter": {"tag": "a"}, "rate": 1});
    let id = begin(http, &about).await?;
    let (status, error) = steer(http, &id, "undo").await?;
    assert_eq!(
        (status, &error["code"]),
        (409, &json!("conflict")),
        "{error}"
    );
    let (status, cancelled) = steer(http, &id, "cancel").await?;
    assert_eq!(
        (status, &cancelled["operation"]["state"]),
        (200, &json!("cancelled"))
    );
    assert_eq!(steer(http, &id, "cancel").await?.0, 200, "repeated");
    for how in ["pause", "resume", "undo"] {
        let (status, error) = steer(http, &id, how).await?;
        assert_eq!(
            (status, &error["code"]),
            (409, &json!("conflict")),
            "{how}: {error}"
        );
    }
    let over = over(http, &id).await?;
    let done = over["done"].as_u64().expect("a number");
    assert!(done < 3, "{over}");

    let (_, stranger) = world.stranger().await?;
    let wish = KeyWish::new("reads", &[Scope::TasksRead]);
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let reader = http.with_key(made.key.reveal());
    let path = format!("/v1/operations/{id}");
    assert_eq!(reader.get(&path).await?.status, 200);
    assert_eq!(stranger.get(&path).await?.status, 403);
    assert_eq!(http.get("/v1/operations/op_x").await?.status, 404);
    for how in ["pause", "resume", "cancel", "undo"] {
        assert_eq!(steer(&stranger, &id, how).await?.0, 403, "{how}");
        assert_eq!(steer(&reader, &id, how).await?.0, 403, "{how}");
        let unknown = steer(http, "op_00000000000000000000000000", how).await?;
        assert_eq!(unknown.0, 404, "{how}");
    }
    for path in [
        "/v1/operations",
        "/v1/operations/preview",
        "/v1/dead-letters/retry",
        "/v1/dead-letters/purge",
        "/v1/queues/default/purge",
    ] {
        assert_eq!(reader.post(path, &about).await?.status, 403, "{path}");
    }
    let key = [("Idempotency-Key", "one")];
    let send = async |request: Value| {
        http.send(Method::POST, "/v1/operations", &key, request.to_string())
            .await
    };
    assert_eq!(send(about.clone()).await?.status, 201);
    let mut other = about;
    other["rate"] = json!(2);
    let mismatch = send(other).await?;
    assert_eq!(
        (mismatch.status.as_u16(), mismatch.code().as_str()),
        (422, "idempotency_mismatch")
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn open_operations_are_bounded() -> Result<()> {
    let world = World::start().await?;
    // Held by somebody else, so that none of them is run.
    world.log.acquire("operations", "test").await?;
    dead(&world, "a").await?;
    let about = json!({"action": "replay", "filter": {"tag": "a"}, "rate": 1});
    let mut open = Vec::new();
    while open.len() < 20 {
        open.push(begin(&world.http, &about).await?);
    }
    let refused = world.http.post("/v1/operations", &about).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "too_many_operations")
    );
    assert_eq!(steer(&world.http, &open[0], "cancel").await?.0, 200);
    begin(&world.http, &about).await?;
    world.stop().await
}
