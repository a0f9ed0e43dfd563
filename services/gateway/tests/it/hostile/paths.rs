//! Methods nobody offers, other spellings of a path, and headers that claim another method, path or host.

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_testkit::http::Http;

use super::wire;
use crate::world::{World, a_task};

// API8.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_have_is_405() -> Result<()> {
    let world = wire::world().await?;
    let id = world.http.create(&a_task()).await?;
    let task = format!("/v1/tasks/{id}");
    for (path, methods) in [
        (
            "/v1/tasks",
            &[
                "TRACE", "PUT", "DELETE", "PATCH", "PROPFIND", "DEBUG", "TRACK", "get", "Get",
                "FOO",
            ][..],
        ),
        (&task, &["TRACE", "PUT", "POST", "MOVE", "delete", "patch"]),
        ("/healthz", &["TRACE", "POST", "DELETE", "PURGE"]),
    ] {
        for method in methods {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nX-Echo: mirror\r\n\r\n",
                world.key
            );
            let exchange = wire::send(&world, request).await?;
            let text = exchange.text();
            assert_eq!(exchange.statuses(), [405], "{method} {path}: {text}");
            assert!(text.contains("\r\nallow: "), "{method} {path}: {text}");
            assert!(
                !text.contains("mirror"),
                "nothing of the request comes back: {text}"
            );
        }
    }
    let connect = "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n";
    let exchange = wire::send(&world, connect).await?;
    assert!(
        exchange
            .statuses()
            .iter()
            .all(|status| (400..500).contains(status)),
        "no tunnel: {}",
        exchange.text()
    );
    assert_eq!(world.http.task(&id).await?["status"], "delayed");
    world.stop().await
}

// API5.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_or_parameter_does_not_change_the_method_or_the_path() -> Result<()> {
    let world = World::start().await?;
    let id = world.http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{id}");
    let cancel = format!("{path}/cancel");
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-original-url", cancel.as_str()),
        ("x-rewrite-url", cancel.as_str()),
        ("x-forwarded-uri", cancel.as_str()),
        ("x-forwarded-prefix", "/v1/tasks"),
    ] {
        let read = world
            .http
            .send(Method::GET, &path, &[(name, value)], "")
            .await?;
        assert_eq!(
            (read.status.as_u16(), read.task()["status"].as_str()),
            (200, Some("delayed")),
            "{name}"
        );
        let list = world
            .http
            .send(
                Method::POST,
                "/v1/tasks/batch",
                &[(name, value)],
                r#"{"tasks": []}"#,
            )
            .await?;
        assert_eq!(list.status, 400, "{name}: it stays the batch");
    }
    for query in [
        "_method=DELETE",
        "method=DELETE",
        "X-HTTP-Method-Override=DELETE",
    ] {
        assert_eq!(
            world.http.get(&format!("{path}?{query}")).await?.status,
            200
        );
    }
    assert_eq!(world.http.task(&id).await?["status"], "delayed");
    for (name, value) in [
        ("host", "evil.example"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example"),
    ] {
        let answer = world
            .http
            .send(
                Method::POST,
                "/v1/tasks",
                &[(name, value)],
                a_task().to_string(),
            )
            .await?;
        let headers: Vec<_> = answer
            .headers
            .values()
            .filter_map(|v| v.to_str().ok())
            .collect();
        assert!(
            !answer.text().contains("evil") && !headers.iter().any(|value| value.contains("evil")),
            "{name} is not believed: {headers:?}"
        );
    }
    world.stop().await
}

// API5.
#[tokio::test(flavor = "multi_thread")]
async fn another_spelling_of_a_path_is_another_path() -> Result<()> {
    let world = wire::world().await?;
    let id = world.http.create(&a_task()).await?;
    let nobody = Http::at(world.gateway.addr());
    for path in [
        "/V1/tasks",
        "/v1/Tasks",
        "/v1/TASKS",
        "/V1/TASKS/batch",
        "//v1/tasks",
        "/v1//tasks",
        "/v1/tasks/",
        "/v1/tasks//",
        "/v1/tasks;a=b",
        "/v1;/tasks",
        "/v1/tasks%2f",
        "/v1/tasks%00",
        "/v1/./tasks",
        "/v1/%2e/tasks",
        "/v1/x/../tasks",
        "/v1/tasks/../tasks",
        "/healthz/../v1/tasks",
        "/healthz/%2e%2e/v1/tasks",
        "/readyz/..;/v1/tasks",
        "/v1%2ftasks",
        "/v1/tasks.json",
        "/v1\\tasks",
        "/%2fv1/tasks",
    ] {
        for http in [&nobody, &world.http] {
            let request = format!("GET {path} HTTP/1.1");
            let header = if std::ptr::eq(http, &world.http) {
                format!("Authorization: Bearer {}\r\n", world.key)
            } else {
                String::new()
            };
            let request = format!("{request}\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
            let exchange = wire::send(&world, request).await?;
            assert!(
                exchange
                    .statuses()
                    .iter()
                    .all(|status| [400, 401, 403, 404].contains(status))
                    && !exchange.text().contains(&id),
                "{path}: {}",
                exchange.text()
            );
        }
    }
    // Percent-encoded letters of the same path are the same path (RFC 3986, 6.2.2.2), and want a key all the same.
    let encoded = nobody.get("/v1/t%61sks").await?;
    assert!(
        [401, 404].contains(&encoded.status.as_u16()),
        "{}",
        encoded.status
    );
    world.stop().await
}

// API8, API9.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_that_is_not_described() -> Result<()> {
    let world = World::start().await?;
    let api = serde_json::to_value(waybill_gateway::openapi())?;
    for path in [
        "/debug",
        "/debug/pprof/",
        "/metrics",
        "/actuator",
        "/actuator/env",
        "/.env",
        "/.git/config",
        "/admin",
        "/server-status",
        "/config",
        "/graphql",
        "/swagger.json",
        "/v1",
        "/v1/",
        "/v2/tasks",
        "/internal",
        "/status",
        "/env",
        "/trace",
        "/wp-login.php",
    ] {
        assert!(api["paths"][path].is_null());
        let answer = world.http.get(path).await?;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
    let preflight = world
        .http
        .send(
            Method::OPTIONS,
            "/v1/tasks",
            &[
                ("origin", "https://evil.example"),
                ("access-control-request-method", "POST"),
            ],
            "",
        )
        .await?;
    let simple = world
        .http
        .send(
            Method::GET,
            "/v1/tasks",
            &[("origin", "https://evil.example")],
            "",
        )
        .await?;
    for answer in [&preflight, &simple] {
        assert!(
            !answer
                .headers
                .keys()
                .any(|name| name.as_str().starts_with("access-control-")),
            "{:?}",
            answer.headers
        );
        for banner in ["server", "x-powered-by", "via"] {
            assert_eq!(answer.header(banner), None);
        }
    }
    world.stop().await
}

// API8: what only a browser would act upon is refused to it as well.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_shows_what_was_sent_only_as_json() -> Result<()> {
    let world = World::start().await?;
    let script = "<script>alert(1)</script>";
    for answer in [
        world
            .http
            .get(&format!(
                "/v1/tasks?status={}",
                "%3Cscript%3Ealert(1)%3C/script%3E"
            ))
            .await?,
        world
            .http
            .post("/v1/tasks", &json!({"targetUrl": script}))
            .await?,
        world.http.get("/%3Cscript%3Ealert(1)%3C/script%3E").await?,
    ] {
        assert!(answer.status.is_client_error());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.json().is_object());
    }
    world.stop().await
}
