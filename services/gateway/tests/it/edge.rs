//! What every answer carries, and the pages about the API.

use anyhow::{Context as _, Result};
use http::Method;
use serde_json::json;
use waybill_gateway::GatewayConfig;
use waybill_log::{Log, Stream, StreamSeq};

use crate::world::{SOON, World, a_task, config};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waybill_testkit::eventually;
use waybill_testkit::http::Http;

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_identified_and_locked_down() -> Result<()> {
    let world = World::start().await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-request-id", "order-17"), ("traceparent", trace)];
    let answer = world
        .http
        .send(Method::GET, "/v1/tasks", &headers, "")
        .await?;
    assert_eq!(answer.header("x-request-id"), Some("order-17"));
    let ours = answer.header("traceparent").expect("a trace");
    assert!(ours.starts_with(&trace[..36]) && ours != trace, "{ours}");
    for answer in [
        answer,
        world.http.get("/nothing").await?,
        Http::at(world.gateway.addr()).get("/v1/tasks").await?,
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            answer.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'")
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_who_caused_it_and_in_which_trace() -> Result<()> {
    let world = World::start().await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let made = world
        .http
        .send(
            Method::POST,
            "/v1/tasks",
            &[("traceparent", trace)],
            a_task().to_string(),
        )
        .await?;
    let record = world
        .log
        .read(Stream::Tasks, StreamSeq(1))
        .await?
        .expect("stored");
    assert_eq!(record.traceparent.as_deref(), made.header("traceparent"));
    assert!(record.actor.starts_with("key:key_"), "{}", record.actor);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed_for_who_wants_it() -> Result<()> {
    let world = World::start().await?;
    let mut task = a_task();
    task["body"] = json!("x".repeat(20_000));
    let id = world.http.post("/v1/tasks", &task).await?.task()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/v1/tasks/{id}");
    for encoding in ["gzip", "deflate"] {
        let answer = world
            .http
            .send(Method::GET, &path, &[("accept-encoding", encoding)], "")
            .await?;
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert!(answer.body.len() < 2_000);
    }
    assert_eq!(
        world.http.get(&path).await?.header("content-encoding"),
        None
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_configured_origins_may_call_from_a_browser() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        cors_origins: vec!["https://app.example".into()],
        ..config()
    })
    .await?;
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,idempotency-key",
            ),
        ];
        world
            .http
            .send(Method::OPTIONS, "/v1/tasks", &headers, "")
            .await
    };
    let ours = preflight("https://app.example").await?;
    assert_eq!(
        (
            ours.status.as_u16(),
            ours.header("access-control-allow-origin")
        ),
        (200, Some("https://app.example"))
    );
    assert_eq!(
        preflight("https://evil.example")
            .await?
            .header("access-control-allow-origin"),
        None
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_learns_what_an_installation_offers_and_nothing_about_teams() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let answer = nobody.get("/v1/meta").await?;
    assert_eq!(answer.status, 200);
    let told = answer.json();
    let meta = &told["meta"];
    assert_eq!(meta["name"], "Waybill");
    assert_eq!(meta["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(meta["signIn"]["issuers"], json!([]));
    let plans = meta["plans"].as_array().context("plans")?;
    assert!(plans.contains(&meta["planOfNewTeams"]), "{meta}");
    assert_eq!(meta["keyBrands"][0], "wb");
    // A gateway of a machine by itself has a target for first tries.
    assert_eq!(meta["sink"], "/sink");
    assert_eq!(nobody.get("/sink?fail=1").await?.status, 503);
    let words = told.to_string();
    assert!(!words.contains("team_") && !words.contains('@'), "{words}");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself_without_any_outside_host() -> Result<()> {
    let world = World::start().await?;
    let nobody = Http::at(world.gateway.addr());
    let api = nobody.get("/openapi.json").await?;
    assert_eq!(api.status, 200);
    assert_eq!(
        api.json(),
        serde_json::to_value(waybill_gateway::openapi())?
    );
    assert!(api.json()["paths"]["/v1/tasks"]["post"].is_object());
    let page = nobody.get("/docs/").await?;
    assert_eq!(page.status, 200);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(
        !text.contains("https://") && !text.contains("src=\"//"),
        "{text}"
    );
    let inline = text
        .split("<script")
        .skip(1)
        .filter(|script| !script.contains("src="))
        .count();
    assert_eq!(inline, 0, "the policy forbids scripts in the page");
    assert!(
        page.header("content-security-policy")
            .is_some_and(|policy| policy.contains("script-src 'self'"))
    );
    for file in [
        "swagger-ui.css",
        "swagger-ui-bundle.js",
        "swagger-initializer.js",
    ] {
        assert_eq!(
            nobody.get(&format!("/docs/{file}")).await?.status,
            200,
            "{file}"
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_too() -> Result<()> {
    let world = World::start().await?;
    let http2 = Http::http2(world.gateway.addr()).with_key(&world.key);
    let tasks = futures::future::try_join_all((0..50).map(|_| http2.get("/v1/tasks"))).await?;
    assert!(tasks.iter().all(|answer| answer.status == 200));
    assert_eq!(http2.post("/v1/tasks", &a_task()).await?.status, 201);
    let too_large = http2
        .send(Method::POST, "/v1/tasks", &[], vec![b'x'; 2 * 1024 * 1024])
        .await?;
    assert_eq!(too_large.status, 413);
    world.stop().await
}

/// h2 ends a connection whose headers it will not read to their end, so it has to read more than is accepted.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_too_large_are_refused_with_a_sentence_over_http2_too() -> Result<()> {
    let world = World::start().await?;
    let http2 = Http::http2(world.gateway.addr()).with_key(&world.key);
    // Of a list of 256 KiB all is read: the largest here is what clients can still send within it.
    for bytes in [40_000, 66_000, 120_000, 250_000] {
        let cookie = "a".repeat(bytes);
        let headers = [("x-large", cookie.as_str())];
        let refused = http2.send(Method::GET, "/v1/tasks", &headers, "").await?;
        let told = (refused.status.as_u16(), refused.code());
        assert_eq!(told, (431, "headers_too_large".to_owned()), "{bytes}");
    }
    // The same connection goes on.
    assert_eq!(http2.get("/v1/tasks").await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_every_place_taken_probes_are_answered_and_others_told_to_wait() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        max_connections: 2,
        max_connections_per_network: Some(100),
        ..config()
    })
    .await?;
    let address = world.gateway.addr();
    // One place is held by the client that waited for readiness, the other one here.
    let holder = TcpStream::connect(address).await?;
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/v1/tasks", 503)] {
        let answer = Http::at(address).get(path).await?;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    drop(holder);
    eventually(SOON, async || {
        let answer = Http::at(address).get("/v1/tasks").await;
        answer.is_ok_and(|answer| answer.status == 401)
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_hold_every_place() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        max_connections: 100,
        max_connections_per_network: Some(2),
        ..config()
    })
    .await?;
    let address = world.gateway.addr();
    // The client that waited for readiness holds one.
    let mut second = TcpStream::connect(address).await?;
    second.write_all(b"GET /healthz HTTP/1.1\r\n").await?;
    let mut third = TcpStream::connect(address).await?;
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(SOON, third.read_to_end(&mut nothing)).await;
    assert!(closed.is_ok() && nothing.is_empty(), "it is closed");
    // From another address there is room.
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 2], 0).into())?;
    let mut other = socket.connect(address).await?;
    other
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await?;
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop((second, other));
    world.stop().await
}

/// A peer that answers pings and asks for nothing would otherwise hold its place for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        header_read_timeout: Duration::from_millis(800),
        ..config()
    })
    .await?;
    let stream = TcpStream::connect(world.gateway.addr()).await?;
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, axum::body::Body>(executor, io).await?;
    let connection = tokio::spawn(connection);
    let uri = format!("http://{}/healthz", world.gateway.addr());
    let request = http::Request::get(uri).body(axum::body::Body::empty())?;
    assert_eq!(sender.send_request(request).await?.status(), 200);
    tokio::time::timeout(SOON, connection).await???;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_send_small_bodies_and_all_bodies_have_bounded_room() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        max_body_bytes_in_flight: 400_000,
        ..config()
    })
    .await?;
    let nobody = Http::at(world.gateway.addr());
    let body_of = |bytes: usize| {
        let mut body =
            br#"{"targetUrl":"http://127.0.0.1:9/","delayUntil":"2040-12-31T00:00:00Z"}"#.to_vec();
        body.resize(bytes, b' ');
        body
    };
    let too_large = nobody
        .send(Method::POST, "/v1/auth/login", &[], body_of(20_000))
        .await?;
    assert_eq!(too_large.status, 413, "{}", too_large.text());
    let send = async |bytes| {
        let sent = world
            .http
            .send(Method::POST, "/v1/tasks", &[], body_of(bytes));
        sent.await
    };
    assert_eq!(send(90_000).await?.status, 201);
    let refused = send(110_000).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (503, "busy")
    );
    assert!(refused.header("retry-after").is_some());
    // What was taken came back.
    assert_eq!(send(90_000).await?.status, 201);
    world.stop().await
}
