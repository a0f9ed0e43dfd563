//! The jobs API beside jobs: organisations and their first keys, keys, sessions, usage and administration.

use anyhow::{Context, Result};
use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use waybill_edge::auth::admin_key::AdminKey;
use waybill_gateway::GatewayConfig;
use waybill_testkit::eventually;
use waybill_testkit::http::{Answer, Http};

use crate::world::{SOON, World, config};

const ADMIN: &str = "the key of administrators";

fn with_admin() -> GatewayConfig {
    GatewayConfig {
        admin_key: Some(AdminKey::new(ADMIN)),
        ..config()
    }
}

async fn get(http: &Http, path: &str) -> Result<Answer> {
    http.get(&format!("/api/v1{path}")).await
}

async fn post(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.post(&format!("/api/v1{path}"), body).await
}

async fn send(http: &Http, method: Method, path: &str, body: &Value) -> Result<Answer> {
    let path = format!("/api/v1{path}");
    http.send(method, &path, &[], body.to_string()).await
}

async fn administer(http: &Http, method: Method, path: &str, body: &Value) -> Result<Answer> {
    let path = format!("/api/v1/admin{path}");
    let headers = [("x-admin-key", ADMIN)];
    http.send(method, &path, &headers, body.to_string()).await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An organisation with that slug: its id, and a client with its first key.
async fn found(world: &World, slug: &str) -> Result<(String, Http)> {
    let nobody = Http::at(world.gateway.addr());
    let made = post(
        &nobody,
        "/organizations",
        &json!({"name": "Acme", "slug": slug}),
    )
    .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let key = text(&made["api_key"]["key"]);
    assert!(key.starts_with("sp_live_"), "{key}");
    Ok((text(&made["organization"]["id"]), nobody.with_key(&key)))
}

async fn key(http: &Http, body: &Value) -> Result<(String, Http)> {
    let made = post(http, "/api-keys", body).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    Ok((text(&made["id"]), http.with_key(&text(&made["key"]))))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_simultaneous_foundings_with_one_slug_one_succeeds() -> Result<()> {
    let world = World::start_with(with_admin()).await?;
    let body = json!({"name": "Acme", "slug": "acme", "billing_email": "b@acme.example"});
    let path = "/organizations";
    let tries = join_all((0..5).map(|_| administer(&world.http, Method::POST, path, &body))).await;
    let mut statuses = Vec::new();
    for answer in tries {
        statuses.push(answer?.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409]);
    let nobody = Http::at(world.gateway.addr());
    let checked = get(&nobody, "/organizations/check-slug?slug=acme")
        .await?
        .json();
    assert_eq!(
        (&checked["available"], &checked["valid"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(checked["suggestion"], "acme-2");
    let made = post(
        &nobody,
        "/organizations/generate-slug",
        &json!({"name": "Acme!"}),
    )
    .await?;
    assert_eq!(made.json()["slug"], "acme-2");
    for (slug, name) in [("A", "Acme"), ("-acme", "Acme"), ("fine", "Ac")] {
        let refused = post(&nobody, path, &json!({"name": name, "slug": slug})).await?;
        assert_eq!(refused.status, 400, "{slug}: {}", refused.text());
        assert_eq!(refused.code(), "VALIDATION_ERROR");
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_is_read_changed_and_deleted_by_its_own_key_alone() -> Result<()> {
    let world = World::start().await?;
    let (id, http) = found(&world, "acme").await?;
    let (other, _) = found(&world, "other").await?;
    let read = get(&http, &format!("/organizations/{id}")).await?.json();
    assert_eq!(
        (&read["slug"], &read["plan_tier"]),
        (&json!("acme"), &json!("free"))
    );
    let token = text(&read["settings"]["webhook_token"]);
    assert!(token.starts_with("whk_"), "{token}");
    let foreign = get(&http, &format!("/organizations/{other}")).await?;
    assert_eq!(
        (foreign.status.as_u16(), foreign.code().as_str()),
        (404, "NOT_FOUND")
    );

    let path = format!("/organizations/{id}");
    let change = json!({"name": "Acme Inc", "billing_email": "b@acme.example",
        "settings": {"n": 12345678901234567u64, "webhook_token": "mine"}});
    let changed = send(&http, Method::PUT, &path, &change).await?.json();
    assert_eq!(
        (&changed["name"], &changed["settings"]["n"]),
        (&json!("Acme Inc"), &json!(12345678901234567u64))
    );
    assert_eq!(changed["settings"]["webhook_token"], token);
    let cleared = send(&http, Method::PUT, &path, &json!({"billing_email": null}))
        .await?
        .json();
    assert_eq!(
        (&cleared["billing_email"], &cleared["name"]),
        (&Value::Null, &json!("Acme Inc"))
    );
    let wrong = send(&http, Method::PUT, &path, &json!({"settings": [1]})).await?;
    assert_eq!(wrong.status, 400, "{}", wrong.text());

    let next = post(&http, "/organizations/webhook-token/regenerate", &json!({}))
        .await?
        .json();
    assert_ne!(text(&next["webhook_token"]), token);
    assert_eq!(next["token"], next["webhook_token"]);
    let cleared = post(&http, "/organizations/webhook-token/clear", &json!({})).await?;
    assert_eq!(cleared.status, 400);

    let (_, limited) = key(&http, &json!({"name": "w", "permissions": ["jobs:read"]})).await?;
    let seen = get(&limited, &path).await?.json();
    assert_eq!(seen["settings"].get("webhook_token"), None);
    for (method, path) in [
        (Method::PUT, path.as_str()),
        (Method::DELETE, path.as_str()),
        (Method::GET, "/organizations/usage"),
        (Method::GET, "/organizations/webhook-token"),
        (Method::GET, "/api-keys"),
        (Method::GET, "/billing/status"),
    ] {
        let refused = send(&limited, method.clone(), path, &json!({})).await?;
        assert_eq!(refused.status, 403, "{method} {path}: {}", refused.text());
        assert_eq!(refused.code(), "ACCESS_DENIED", "{method} {path}");
    }

    let deleted = send(&http, Method::DELETE, &path, &json!({})).await?;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    for http in [&http, &limited] {
        assert_eq!(get(http, "/auth/me").await?.status, 401);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_limited_changed_and_revoked_and_each_holds_at_once() -> Result<()> {
    let world = World::start().await?;
    let http = &world.http;
    let wish = json!({"name": "w", "permissions": ["jobs:read", "queues:read"], "queues": ["mail"], "rate_limit": 3});
    let (id, limited) = key(http, &wish).await?;
    let path = format!("/api-keys/{id}");
    let shown = get(http, &path).await?.json();
    assert_eq!(shown["permissions"], json!(["jobs:read", "queues:read"]));
    assert_eq!(
        (&shown["queues"], &shown["rate_limit"]),
        (&json!(["mail"]), &json!(3))
    );
    assert!(shown.get("key").is_none());
    assert_eq!(
        get(&limited, "/jobs/stats?queue_name=mail").await?.status,
        200
    );
    assert_eq!(
        get(&limited, "/jobs/stats?queue_name=other").await?.status,
        403
    );
    assert_eq!(get(&limited, "/jobs/stats").await?.status, 200);
    // However the minute falls: more than three requests come in it.
    eventually(SOON, async || {
        let answer = get(&limited, "/jobs/stats").await;
        answer.is_ok_and(|over| {
            over.status == 429
                && over.code() == "RATE_LIMIT_EXCEEDED"
                && over.header("x-ratelimit-scope") == Some("api_key")
        })
    })
    .await?;

    for (wish, field) in [
        (json!({"name": "w", "permissions": []}), "permissions"),
        (
            json!({"name": "w", "permissions": ["keys:write"]}),
            "permissions",
        ),
        (json!({"name": "w", "queues": ["a b"]}), "queues"),
        (json!({"name": "w", "rate_limit": 0}), "rate_limit"),
        (json!({"name": "w", "rate_limit": 10001}), "rate_limit"),
        (json!({"name": "", "rate_limit": 1}), "name"),
        (
            json!({"name": "w", "expires_at": "2001-01-01T00:00:00Z"}),
            "expires_at",
        ),
    ] {
        let refused = post(http, "/api-keys", &wish).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{wish}"
        );
        assert_eq!(refused.json()["details"][0]["field"], field, "{wish}");
    }

    let wider = json!({"permissions": ["jobs:read", "jobs:write"]});
    let refused = send(http, Method::PUT, &path, &wider).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "CONFLICT")
    );
    let change = json!({"rate_limit": null, "permissions": ["jobs:read"], "name": "renamed"});
    let changed = send(http, Method::PATCH, &path, &change).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["rate_limit"], Value::Null);
    assert_eq!(get(&limited, "/queues").await?.status, 403, "narrowed");
    assert_eq!(
        get(&limited, "/jobs/stats").await?.status,
        200,
        "no rate of its own"
    );

    let active = |is: bool| json!({"is_active": is});
    send(http, Method::PUT, &path, &active(false)).await?;
    assert_eq!(get(&limited, "/jobs/stats").await?.status, 401);
    send(http, Method::PUT, &path, &active(true)).await?;
    assert_eq!(get(&limited, "/jobs/stats").await?.status, 200);
    assert_eq!(
        send(http, Method::DELETE, &path, &json!({})).await?.status,
        204
    );
    assert_eq!(get(&limited, "/jobs/stats").await?.status, 401);
    assert_eq!(get(http, &path).await?.status, 404);
    assert_eq!(
        send(http, Method::DELETE, &path, &json!({})).await?.status,
        404
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stands_for_its_key_and_ends_as_a_whole() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let (id, holder) = key(
        &world.http,
        &json!({"name": "w", "permissions": ["jobs:read"]}),
    )
    .await?;
    let (_, other) = key(&world.http, &json!({"name": "o"})).await?;
    drop(holder);
    let refused = post(
        &nobody,
        "/auth/login",
        &json!({"api_key": "sp_live_nothing_like_a_key"}),
    )
    .await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (401, "AUTHENTICATION_FAILED")
    );

    let admin = post(&nobody, "/auth/login", &json!({"api_key": world.key}))
        .await?
        .json();
    let tokens = admin;
    assert_eq!(
        (
            &tokens["token_type"],
            &tokens["expires_in"],
            &tokens["refresh_expires_in"]
        ),
        (&json!("Bearer"), &json!(86400), &json!(2_073_600))
    );
    let (access, refresh) = (
        text(&tokens["access_token"]),
        text(&tokens["refresh_token"]),
    );
    let session = nobody.with_key(&access);
    let me = get(&session, "/auth/me").await?.json();
    assert_eq!(me["organization_id"], world.team.as_str());
    assert_eq!(me["organization"]["plan_tier"], "enterprise");
    assert_eq!(
        get(&session, &format!("/api-keys/{id}")).await?.status,
        200,
        "with the rights of the key"
    );
    assert_eq!(
        get(&nobody.with_key(&refresh), "/auth/me").await?.status,
        401,
        "it only refreshes"
    );
    let wrong = post(&nobody, "/auth/refresh", &json!({"refresh_token": access})).await?;
    assert_eq!(wrong.status, 401);
    let fresh = post(&nobody, "/auth/refresh", &json!({"refresh_token": refresh})).await?;
    let fresh = nobody.with_key(&text(&fresh.json()["access_token"]));
    assert_eq!(get(&fresh, "/auth/me").await?.status, 200);
    let checked = post(&nobody, "/auth/validate", &json!({"token": access}))
        .await?
        .json();
    assert_eq!(
        (&checked["valid"], &checked["claims"]["org_id"]),
        (&json!(true), &json!(world.team.as_str()))
    );
    let checked = post(&nobody, "/auth/validate", &json!({"token": "rubbish"})).await?;
    assert_eq!(
        (checked.status.as_u16(), &checked.json()["valid"]),
        (200, &json!(false))
    );

    // Somebody else's session is not theirs to end.
    let foreign = post(&other, "/auth/logout", &json!({"refresh_token": refresh})).await?;
    assert_eq!(foreign.status, 204);
    assert_eq!(get(&session, "/auth/me").await?.status, 200);
    let out = session
        .send(Method::POST, "/api/v1/auth/logout", &[], "")
        .await?;
    assert_eq!(out.status, 204, "{}", out.text());
    for http in [&session, &fresh] {
        assert_eq!(get(http, "/auth/me").await?.status, 401);
    }
    let over = post(&nobody, "/auth/refresh", &json!({"refresh_token": refresh})).await?;
    assert_eq!(over.status, 401);
    assert_eq!(
        get(&world.http, "/auth/me").await?.status,
        200,
        "the key goes on"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_key() -> Result<()> {
    let world = World::start().await?;
    let made = post(&world.http, "/api-keys", &json!({"name": "w"}))
        .await?
        .json();
    let (id, secret) = (text(&made["id"]), text(&made["key"]));
    let nobody = Http::at(world.gateway.addr());
    let tokens = post(&nobody, "/auth/login", &json!({"api_key": secret}))
        .await?
        .json();
    let session = nobody.with_key(&text(&tokens["access_token"]));
    assert_eq!(get(&session, "/jobs/stats").await?.status, 200);
    let off = json!({"is_active": false});
    send(&world.http, Method::PUT, &format!("/api-keys/{id}"), &off).await?;
    assert_eq!(get(&session, "/jobs/stats").await?.status, 401);
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(post(&nobody, "/auth/refresh", &refresh).await?.status, 401);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_keys_at_once_against_a_cap_of_25_leave_25() -> Result<()> {
    let world = World::start_with(with_admin()).await?;
    let body = json!({"name": "Acme", "slug": "acme", "plan_tier": "starter", "custom_limits": {"max_api_keys": 25}});
    let made = administer(&world.http, Method::POST, "/organizations", &body).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let http = world.http.with_key(&text(&made["api_key"]["key"]));
    let wish = json!({"name": "w", "permissions": ["jobs:read"]});
    let tries = join_all((0..30).map(|_| post(&http, "/api-keys", &wish))).await;
    let mut refused = Vec::new();
    let mut others = 0;
    for answer in tries {
        let answer = answer?;
        match answer.status.as_u16() {
            201 => {}
            429 => refused.push(answer),
            // Many writers of one team: some are asked to try again.
            503 => others += 1,
            _ => panic!("{}: {}", answer.status, answer.text()),
        }
    }
    for _ in 0..others {
        let answer = post(&http, "/api-keys", &wish).await?;
        if answer.status == 429 {
            refused.push(answer);
        }
    }
    assert_eq!(refused.len(), 6, "24 beside the first fit");
    let first = refused.first().context("one")?;
    let body = first.json();
    assert_eq!(
        (&body["code"], &body["error"], &body["resource"]),
        (
            &json!("QUOTA_EXCEEDED"),
            &json!("limit_exceeded"),
            &json!("api_keys")
        )
    );
    assert_eq!((&body["current"], &body["limit"]), (&json!(25), &json!(25)));
    assert_eq!(
        body["message"],
        "api keys limit reached (25/25). Upgrade to pro for higher limits."
    );
    assert_eq!(
        (&body["plan"], &body["upgrade_to"]),
        (&json!("starter"), &json!("pro"))
    );
    assert_eq!(
        first.header("retry-after"),
        None,
        "by which clients tell it from a rate"
    );
    let keys = get(&http, "/api-keys").await?.json();
    assert_eq!(keys.as_array().map(Vec::len), Some(25));
    let usage = get(&http, "/organizations/usage").await?.json();
    assert_eq!(
        usage["usage"]["api_keys"],
        json!({"current": 25, "limit": 25, "percentage": 100.0, "is_disabled": false})
    );
    assert_eq!(usage["warnings"][0]["severity"], "critical");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_are_known_by_their_key_alone() -> Result<()> {
    let world = World::start_with(with_admin()).await?;
    let path = "/api/v1/admin/organizations";
    for (headers, error) in [
        (&[][..], "missing_admin_key"),
        (&[("x-admin-key", "another one")][..], "invalid_admin_key"),
    ] {
        let refused = world.http.send(Method::GET, path, headers, "").await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (401, "UNAUTHORIZED")
        );
        assert_eq!(refused.json()["error"], error);
    }
    let (id, http) = found(&world, "acme").await?;
    let one = format!("/organizations/{id}");
    let change = json!({"plan_tier": "pro", "custom_limits": {"max_queues": 7, "max_workers": null}, "stripe_customer_id": "cus_1"});
    let changed = administer(&world.http, Method::PATCH, &one, &change).await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["custom_limits"], json!({"max_queues": 7}));
    let usage = get(&http, "/organizations/usage").await?.json();
    assert_eq!(
        (
            &usage["plan"],
            &usage["limits"]["max_queues"],
            &usage["limits"]["max_workers"]
        ),
        (&json!("pro"), &json!(7), &json!(25))
    );
    let reset = administer(
        &world.http,
        Method::PATCH,
        &one,
        &json!({"custom_limits": {}}),
    )
    .await?;
    assert_eq!(reset.json()["custom_limits"], Value::Null);
    let wrong = administer(
        &world.http,
        Method::PATCH,
        &one,
        &json!({"custom_limits": {"max_wishes": 1}}),
    )
    .await?;
    assert_eq!(wrong.status, 400);
    let list = administer(
        &world.http,
        Method::GET,
        "/organizations?search=ACM&plan_tier=pro",
        &json!({}),
    )
    .await?
    .json();
    assert_eq!(
        (&list["total"], &list["organizations"][0]["id"]),
        (&json!(1), &json!(id))
    );
    assert_eq!(list["organizations"][0]["usage"]["api_keys"], 1);
    let wrong = administer(
        &world.http,
        Method::GET,
        "/organizations?sort_order=up",
        &json!({}),
    )
    .await?;
    assert_eq!(wrong.status, 400);
    let read = administer(&world.http, Method::GET, &one, &json!({}))
        .await?
        .json();
    assert_eq!(
        (&read["api_keys_count"], &read["total_jobs"]),
        (&json!(1), &json!(0))
    );
    let plans = administer(&world.http, Method::GET, "/plans", &json!({}))
        .await?
        .json();
    assert_eq!(plans.as_array().map(Vec::len), Some(4));
    let made = administer(
        &world.http,
        Method::POST,
        &format!("{one}/api-keys"),
        &json!({"name": "k"}),
    )
    .await?;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        administer(&world.http, Method::DELETE, &one, &json!({}))
            .await?
            .status,
        204
    );
    assert_eq!(get(&http, "/auth/me").await?.status, 401);
    assert_eq!(
        administer(&world.http, Method::GET, &one, &json!({}))
            .await?
            .status,
        404
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configured_key_nobody_administers() -> Result<()> {
    let world = World::start().await?;
    let refused = administer(&world.http, Method::GET, "/plans", &json!({})).await?;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]),
        (401, &json!("admin_not_configured"))
    );
    world.stop().await
}
