//! Every route demands the scope that its description names, or somebody who is signed in, and nothing is reachable without either but
//! what says so.

use std::collections::BTreeMap;

use anyhow::Result;
use http::Method;
use waybill_domain::access::key::ApiKey;
use waybill_domain::access::scope::Scope;

use crate::limited::refusals::lacking_scope;
use crate::world::{World, operator};

/// Routes that take no credential, or one of their own kind: a client's, a scanner's signature, a mailed token, a cookie.
const OPEN: [&str; 41] = [
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/.well-known/waybill-audit-keys",
    "/api/v1/admin/organizations",
    "/api/v1/admin/organizations",
    "/api/v1/admin/organizations/task_00000000000000000000000000",
    "/api/v1/admin/organizations/task_00000000000000000000000000",
    "/api/v1/admin/organizations/task_00000000000000000000000000",
    "/api/v1/admin/organizations/task_00000000000000000000000000",
    "/api/v1/admin/organizations/task_00000000000000000000000000/api-keys",
    "/api/v1/admin/plans",
    "/api/v1/auth/check-email",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/validate",
    "/api/v1/organizations",
    "/api/v1/organizations/check-slug",
    "/api/v1/organizations/generate-slug",
    "/health",
    "/health/live",
    "/health/ready",
    "/healthz",
    "/oauth/authorize",
    "/oauth/authorize",
    "/oauth/device_authorization",
    "/oauth/introspect",
    "/oauth/revoke",
    "/oauth/sign-in",
    "/oauth/token",
    "/readyz",
    "/v1/auth/confirm",
    "/v1/auth/link",
    "/v1/auth/login",
    "/v1/auth/oidc/{issuer}/callback",
    "/v1/auth/oidc/{issuer}/start",
    "/v1/auth/password/forgot",
    "/v1/auth/password/reset",
    "/v1/auth/refresh",
    "/v1/auth/signup",
    "/v1/key-reports",
    "/v1/meta",
];

/// What a route demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    Nothing,
    Scope(Scope),
    /// Any API key, whatever it may do.
    Key,
    Person,
}

/// Method, path and demand of every route, from the description.
fn all_routes() -> Vec<(Method, String, Demand)> {
    let api = serde_json::to_value(waybill_gateway::openapi()).expect("JSON");
    let mut routes = Vec::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for method in ["get", "post", "put", "delete", "patch"] {
            let operation = &item[method];
            if operation.is_null() {
                continue;
            }
            let scopes: Vec<_> = operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|requirement| requirement["api_key"].as_array())
                .flatten()
                .filter_map(|scope| Scope::parse(scope.as_str()?))
                .collect();
            assert!(scopes.len() <= 1, "{method} {path} names one scope");
            let concrete = path
                .replace("{id}", "task_00000000000000000000000000")
                .replace("{teamId}", "team_x")
                .replace("{keyId}", "key_abcdefgh");
            let method = method.to_uppercase().parse().expect("a method");
            let mut requirements = operation["security"].as_array().into_iter().flatten();
            let by_person = requirements.clone().any(|r| r["session"].is_array());
            let by_any_key = requirements.any(|r| r["api_key"] == serde_json::json!([]));
            let demand = match scopes.first() {
                Some(scope) => Demand::Scope(*scope),
                None if by_person => Demand::Person,
                None if by_any_key => Demand::Key,
                None => Demand::Nothing,
            };
            routes.push((method, concrete, demand));
        }
    }
    routes
}

/// Those that demand a scope.
fn routes() -> Vec<(Method, String, Option<Scope>)> {
    let scope = |(method, path, demand)| match demand {
        Demand::Scope(scope) => Some((method, path, Some(scope))),
        Demand::Nothing | Demand::Key | Demand::Person => None,
    };
    all_routes().into_iter().filter_map(scope).collect()
}

#[test]
fn only_what_is_meant_to_be_open_is() {
    let open: Vec<_> = all_routes()
        .into_iter()
        .filter(|(_, _, demand)| *demand == Demand::Nothing)
        .map(|(_, path, _)| path)
        .collect();
    assert_eq!(open, OPEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_about_the_key_itself_takes_any_key_and_nothing_else() -> Result<()> {
    let world = World::start().await?;
    let nobody = waybill_testkit::http::Http::at(world.gateway.addr());
    let invalid = nobody.with_key("wb_live_00000000000000000000000000000000000000000000000");
    let mut found = Vec::new();
    for (method, path, demand) in all_routes() {
        if demand != Demand::Key {
            continue;
        }
        let writer = world.writer();
        let made = writer
            .create_key(&world.team, "k", &[Scope::BidsRead], &operator())
            .await?;
        world.gateway.state().auth.wait_for(made.seq).await?;
        for (http, status) in [
            (&nobody, 401),
            (&invalid, 401),
            (&world.http.with_key(made.key.reveal()), 200),
        ] {
            let answer = http.send(method.clone(), &path, &[], "").await?;
            // A log-out has nothing to tell, and a task's id names no organisation.
            let status = match (status, path.as_str()) {
                (200, "/api/v1/auth/logout") => 204,
                (200, path) if path.contains("/task_") => 404,
                _ => status,
            };
            assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        }
        found.push(format!("{method} {path}"));
    }
    assert_eq!(
        found,
        [
            "POST /api/v1/auth/logout",
            "GET /api/v1/auth/me",
            "GET /api/v1/organizations",
            "GET /api/v1/organizations/task_00000000000000000000000000",
            "GET /v1/key",
            "POST /v1/key/revoke"
        ]
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_for_people_is_for_nobody_else() -> Result<()> {
    let world = World::start().await?;
    let nobody = waybill_testkit::http::Http::at(world.gateway.addr());
    for (method, path, demand) in all_routes() {
        if demand != Demand::Person {
            continue;
        }
        let answer = nobody.send(method.clone(), &path, &[], "{}").await?;
        assert_eq!(answer.status, 401, "{method} {path}");
        let answer = world.http.send(method.clone(), &path, &[], "{}").await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (403, "person_required".into()),
            "{method} {path}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_is_named_on_every_route() -> Result<()> {
    let world = World::start().await?;
    let mut without = BTreeMap::new();
    for (_, _, scope) in routes() {
        let Some(scope) = scope else { continue };
        let others: Vec<_> = Scope::ALL
            .iter()
            .copied()
            .filter(|other| *other != scope)
            .collect();
        let made = world
            .writer()
            .create_key(&world.team, "narrow", &others, &operator())
            .await?;
        world.gateway.state().auth.wait_for(made.seq).await?;
        without.insert(scope, world.http.with_key(made.key.reveal()));
    }
    let nobody = waybill_testkit::http::Http::at(world.gateway.addr());
    let invalid = nobody.with_key("wb_live_00000000000000000000000000000000000000000000000");
    // Whose something is comes before what may be done with it.
    let own = ApiKey::parse(&world.key).expect("a key").id().to_string();
    for (method, path, scope) in routes() {
        let Some(scope) = scope else { continue };
        let path = path
            .replace("key_abcdefgh", &own)
            .replace("team_x", world.team.as_str());
        let answer = nobody.send(method.clone(), &path, &[], "{}").await?;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (401, "API key required".into()),
            "{method} {path}"
        );
        let answer = invalid.send(method.clone(), &path, &[], "{}").await?;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (401, "Invalid or revoked API key".into()),
            "{method} {path}"
        );
        let answer = without[&scope]
            .send(method.clone(), &path, &[], "{}")
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (403, lacking_scope(&path).into()),
            "{method} {path}"
        );
        assert!(
            answer.error().contains(scope.as_str()),
            "{method} {path}: {}",
            answer.error()
        );
    }
    world.stop().await
}
