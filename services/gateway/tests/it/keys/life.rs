//! How keys end: by time, by revocation, by their holder; and where they may be used from.

use std::net::SocketAddr;

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use waybill_gateway::GatewayConfig;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

use super::{keys_of, listed, make, stored};
use crate::teams::people::Person;
use crate::world::{SOON, World, a_task, config};

/// Long enough to be seen alive on a busy machine.
const SHORT_LIFE_MS: i64 = 4_000;

fn in_ms(ms: i64) -> String {
    waybill_domain::time::Timestamp(crate::owner::now().0 + ms).to_rfc3339()
}

// K5, K20.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_refused_as_an_unknown_one_and_cannot_be_rotated() -> Result<()> {
    let world = World::start().await?;
    let body = json!({"name": "short", "expiresAt": in_ms(SHORT_LIFE_MS)});
    let short = make(&world.http, &world.team, &body).await?;
    assert_eq!(short.http.get("/v1/tasks").await?.status, 200);
    eventually(SOON, async || {
        let answer = short.http.get("/v1/tasks").await;
        answer.is_ok_and(|answer| answer.status == 401)
    })
    .await?;
    let refused = short.http.get("/v1/tasks").await?;
    assert_eq!(refused.error(), "Invalid or revoked API key");
    let shown = listed(&world.http, &world.team, short.id()).await?;
    assert_eq!(
        (&shown["status"], &shown["revokedAt"]),
        (&json!("expired"), &Value::Null)
    );
    let rotate = format!("/apikeys/{}/rotate", short.id());
    let before = stored(&world).await?;
    let conflict = world.http.post(&rotate, &json!({})).await?;
    assert_eq!(conflict.status, 409, "{}", conflict.text());
    assert_eq!(stored(&world).await?, before);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_twice_answers_the_same() -> Result<()> {
    let world = World::start().await?;
    for path in ["/apikeys/{}/revoke", "/v1/api-keys/{}"] {
        let key = make(&world.http, &world.team, &json!({"name": "k"})).await?;
        let path = path.replace("{}", key.id());
        let method = if path.starts_with("/v1") {
            Method::DELETE
        } else {
            Method::POST
        };
        let first = world.http.send(method.clone(), &path, &[], "").await?;
        assert_eq!(first.status, 200, "{}", first.text());
        let revoked = &first.json()["apiKey"];
        assert_eq!(revoked["status"], "revoked");
        assert!(revoked["revokedAt"].is_string());
        assert_eq!(key.http.get("/v1/key").await?.status, 401);
        let before = stored(&world).await?;
        let second = world.http.send(method, &path, &[], "").await?;
        assert_eq!(second.status, 200);
        assert_eq!(second.json(), first.json());
        assert_eq!(stored(&world).await?, before);
        let rotate = format!("/apikeys/{}/rotate", key.id());
        assert_eq!(world.http.post(&rotate, &json!({})).await?.status, 409);
    }
    for path in ["/v1/api-keys/key_zzzzzzzz", "/v1/api-keys/nonsense"] {
        let missing = world.http.send(Method::DELETE, path, &[], "").await?;
        assert_eq!(missing.status, 404, "{path}");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_reads_and_ends_its_own_key_whatever_it_may_do() -> Result<()> {
    let world = World::start().await?;
    let body = json!({"name": "narrow", "scopes": ["bids:read"]});
    let narrow = make(&world.http, &world.team, &body).await?;
    let read = narrow.http.get("/v1/key").await?;
    assert_eq!(read.status, 200, "{}", read.text());
    let own = &read.json()["apiKey"];
    assert_eq!(
        (&own["id"], &own["scopes"], &own["status"]),
        (
            &narrow.object["id"],
            &json!(["bids:read"]),
            &json!("active")
        )
    );
    assert!(!read.text().contains(narrow.secret()));
    let nobody = Http::at(world.gateway.addr());
    assert_eq!(nobody.get("/v1/key").await?.error(), "API key required");
    let person = Person::signed_in(&world, "ann").await?;
    for (method, path) in [(Method::GET, "/v1/key"), (Method::POST, "/v1/key/revoke")] {
        let refused = person.http.send(method, path, &[], "").await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "api_key_required")
        );
    }
    let revoked = narrow
        .http
        .send(Method::POST, "/v1/key/revoke", &[], "")
        .await?;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(revoked.json()["apiKey"]["status"], "revoked");
    for (method, path) in [(Method::GET, "/v1/key"), (Method::POST, "/v1/key/revoke")] {
        let refused = narrow.http.send(method, path, &[], "").await?;
        assert_eq!(refused.status, 401);
    }
    world.stop().await
}

// K15.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_another_teams_key_by_its_id() -> Result<()> {
    let world = World::start().await?;
    let victim = make(&world.http, &world.team, &json!({"name": "ours"})).await?;
    let (_, stranger) = world.stranger().await?;
    let admin = Person::signed_in(&world, "admin").await?;
    admin.team(&world, "Theirs", "pro").await?;
    let before = stored(&world).await?;
    for http in [&stranger, &admin.http] {
        for (method, path) in [
            (Method::POST, format!("/apikeys/{}/revoke", victim.id())),
            (Method::POST, format!("/apikeys/{}/rotate", victim.id())),
            (Method::DELETE, format!("/v1/api-keys/{}", victim.id())),
            (Method::GET, keys_of(&world.team)),
            (Method::POST, keys_of(&world.team)),
        ] {
            let body = if path.ends_with("apikeys") {
                "{\"name\":\"x\"}"
            } else {
                ""
            };
            let refused = http.send(method, &path, &[], body).await?;
            assert_eq!(
                (refused.status.as_u16(), refused.error().as_str()),
                (403, "Access denied"),
                "{path}: {}",
                refused.text()
            );
        }
    }
    assert_eq!(stored(&world).await?, before, "no event");
    assert_eq!(victim.http.get("/v1/key").await?.status, 200);
    world.stop().await
}

// K29.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_key_is_judged_by_the_real_address() -> Result<()> {
    // Dual stack: a client that comes by IPv4 is an IPv4-mapped address there.
    let config = GatewayConfig {
        listen: SocketAddr::from(([0_u16; 8], 0)),
        ..config()
    };
    let Ok(world) = World::start_with(config).await else {
        // A machine without IPv6 has no such clients.
        return Ok(());
    };
    let bound = |networks: &[&str]| json!({"name": "bound", "allowedSources": networks});
    let here = make(&world.http, &world.team, &bound(&["127.0.0.0/8"])).await?;
    let six = make(&world.http, &world.team, &bound(&["::1/128"])).await?;
    let away = make(&world.http, &world.team, &bound(&["203.0.113.0/24"])).await?;
    let port = world.gateway.addr().port();
    let by_four = Http::new(&format!("http://127.0.0.1:{port}"), None);
    let by_six = Http::new(&format!("http://[::1]:{port}"), None);
    for (http, key, status) in [
        (&by_four, &here, 200),
        (&by_four, &six, 403),
        (&by_six, &six, 200),
        (&by_six, &here, 403),
        (&by_four, &away, 403),
    ] {
        let http = http.with_key(key.secret());
        let answer = http.get("/v1/tasks").await?;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
            let spoof = [(header, "203.0.113.7")];
            let answer = http.send(Method::GET, "/v1/tasks", &spoof, "").await?;
            assert_eq!(answer.status.as_u16(), status, "{header} is not believed");
        }
    }
    let refused = by_four.with_key(away.secret());
    let refused = refused.post("/v1/tasks", &a_task()).await?;
    assert_eq!(refused.code(), "source_not_allowed");
    world.stop().await
}
