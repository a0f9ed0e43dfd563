//! Every route demands the scope that its description names, and nothing is reachable without a key but what says so.

use std::collections::BTreeMap;

use anyhow::Result;
use http::Method;
use waybill_domain::access::scope::Scope;

use crate::world::{World, operator};

/// Routes without a key.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Method, path and scope of every route, from the description.
fn routes() -> Vec<(Method, String, Option<Scope>)> {
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
            routes.push((method, concrete, scopes.first().copied()));
        }
    }
    routes
}

#[test]
fn only_what_is_meant_to_be_open_is() {
    let open: Vec<_> = routes()
        .into_iter()
        .filter(|(_, _, scope)| scope.is_none())
        .map(|(_, path, _)| path)
        .collect();
    assert_eq!(open, OPEN);
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
    for (method, path, scope) in routes() {
        let Some(scope) = scope else { continue };
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
            (403, "insufficient_scope".into()),
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
