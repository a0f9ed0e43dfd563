//! What is wrong with a request is said, and nothing of it is stored.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waybill_gateway::GatewayConfig;
use waybill_log::{Log, Stream, StreamSeq};

use crate::world::{World, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_bad_tasks() -> Result<()> {
    let world = World::start().await?;
    let field = |name: &str, value: Value| {
        let mut task = json!({"targetUrl": "https://example.com/"});
        task[name] = value;
        task.to_string()
    };
    let cases: Vec<(String, u16, Option<&str>)> = vec![
        (String::new(), 400, None),
        ("{".into(), 400, None),
        ("nonsense".into(), 400, None),
        ("[]".into(), 400, None),
        ("[\"https://example.com/\"]".into(), 400, None),
        ("null".into(), 400, None),
        ("{} {}".into(), 400, None),
        (
            format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
            400,
            None,
        ),
        (
            format!(
                "{{\"targetUrl\": \"\", \"x\": {}1{}}}",
                "[".repeat(500),
                "]".repeat(500)
            ),
            400,
            Some("targetUrl"),
        ),
        (r#"{"method": "POST"}"#.into(), 400, Some("targetUrl")),
        (r#"{"headers": {"a": "b"}}"#.into(), 400, Some("targetUrl")),
        (r#"{"timeout": 5}"#.into(), 400, Some("targetUrl")),
        (field("targetUrl", json!(1)), 400, Some("targetUrl")),
        (field("targetUrl", json!("")), 400, Some("targetUrl")),
        (
            field("targetUrl", json!("example.com")),
            400,
            Some("targetUrl"),
        ),
        (
            field("targetUrl", json!("ftp://example.com")),
            400,
            Some("targetUrl"),
        ),
        (
            field("targetUrl", json!("javascript:alert(1)")),
            400,
            Some("targetUrl"),
        ),
        (
            field("targetUrl", json!("https://u:p@example.com")),
            400,
            Some("targetUrl"),
        ),
        (
            field("targetUrl", json!("https://exa mple.com")),
            400,
            Some("targetUrl"),
        ),
        (
            field(
                "targetUrl",
                json!("http://169.254.169.254/latest/meta-data"),
            ),
            400,
            Some("targetUrl"),
        ),
        (
            field("targetUrl", json!("http://0x0a000001/")),
            400,
            Some("targetUrl"),
        ),
        (
            field(
                "targetUrl",
                json!(format!("https://e.com/{}", "x".repeat(9000))),
            ),
            400,
            Some("targetUrl"),
        ),
        (
            field("onCompleteUrl", json!("file:///etc/passwd")),
            400,
            Some("onCompleteUrl"),
        ),
        (field("method", json!("TRACE")), 400, Some("method")),
        (
            field("headers", json!({"X": "a\r\nHost: evil"})),
            400,
            Some("headers"),
        ),
        (field("headers", json!({"X Y": "a"})), 400, Some("headers")),
        (
            field("headers", json!({"Content-Length": "1"})),
            400,
            Some("headers"),
        ),
        (field("headers", json!({"X": 1})), 400, Some("headers.X")),
        (field("headers", json!("x")), 400, Some("headers")),
        (
            field("headers", json!({"Authorization": "tok_1"})),
            400,
            Some("headers"),
        ),
        (field("resolve", json!(["path"])), 400, Some("resolve")),
        (field("resolve", json!("body")), 400, Some("resolve")),
        (field("body", json!({"a": 1})), 400, Some("body")),
        (field("maxRetries", json!(11)), 400, Some("maxRetries")),
        (field("maxRetries", json!("3")), 400, Some("maxRetries")),
        (field("maxRetries", json!(1e30)), 400, Some("maxRetries")),
        (field("priority", json!(0)), 400, Some("priority")),
        (field("timeout", json!(0)), 400, Some("timeout")),
        (field("timeout", json!(-1)), 400, Some("timeout")),
        (field("maxWaitTime", json!(3601)), 400, Some("maxWaitTime")),
        (field("delayUntil", json!("soon")), 400, Some("delayUntil")),
        (
            field("delayUntil", json!("9999-01-01T00:00:00Z")),
            400,
            Some("delayUntil"),
        ),
        (
            field("retryBackoff", json!("cubic")),
            400,
            Some("retryBackoff"),
        ),
        (field("retryOn", json!(["2xx"])), 400, Some("retryOn")),
        (field("queue", json!("a.b")), 400, Some("queue")),
        (field("provider", json!("fal")), 400, Some("provider")),
        (field("pollConfig", json!({})), 400, Some("pollConfig")),
    ];
    for (body, status, field) in cases {
        let shown: String = body.chars().take(120).collect();
        let answer = world
            .http
            .send(Method::POST, "/v1/tasks", &[], body)
            .await?;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{shown}: {}",
            answer.error()
        );
        assert_eq!(
            answer.json()["field"].as_str(),
            field,
            "{shown}: {}",
            answer.error()
        );
        assert!(
            !answer.error().is_empty() && !answer.code().is_empty(),
            "{shown}"
        );
    }
    let invalid_utf8 = world
        .http
        .send(
            Method::POST,
            "/v1/tasks",
            &[],
            &b"{\"targetUrl\": \"\xff\"}"[..],
        )
        .await?;
    assert_eq!(invalid_utf8.status, 400);
    let compressed = world
        .http
        .send(
            Method::POST,
            "/v1/tasks",
            &[("content-encoding", "gzip")],
            "x",
        )
        .await?;
    assert_eq!(compressed.status, 415);
    let wrong_method = world.http.send(Method::PUT, "/v1/tasks", &[], "").await?;
    assert_eq!(
        (wrong_method.status.as_u16(), wrong_method.code()),
        (405, "method_not_allowed".into())
    );
    assert!(
        wrong_method
            .header("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
    assert_eq!(world.http.get("/v1/nothing").await?.code(), "not_found");
    for path in ["/v1/tasks/%ff", "/v1/tasks/%ff/cancel"] {
        let answer = world.http.get(path).await?;
        assert!(
            answer.status.is_client_error() && !answer.error().is_empty(),
            "{path}"
        );
    }
    assert_eq!(
        world.log.bounds(Stream::Tasks).await?.last,
        StreamSeq(0),
        "nothing was stored"
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_one_mebibyte_is_taken_and_one_byte_more_is_not() -> Result<()> {
    let world = World::start().await?;
    let limit = config().max_body_bytes;
    let sized = |bytes: usize| {
        let frame = json!({"targetUrl": "http://127.0.0.1:9/", "delayUntil": "2040-12-31T00:00:00Z", "body": ""}).to_string();
        frame.replace(
            "\"body\":\"\"",
            &format!("\"body\":\"{}\"", "x".repeat(bytes - frame.len())),
        )
    };
    let largest = world
        .http
        .send(Method::POST, "/v1/tasks", &[], sized(limit))
        .await?;
    assert_eq!(largest.status, 201, "{}", largest.error());
    let id = largest.task()["id"].as_str().expect("an id").to_owned();
    let read = world.http.get(&format!("/v1/tasks/{id}")).await?;
    assert_eq!(read.task()["body"], largest.task()["body"]);
    let too_large = world
        .http
        .send(Method::POST, "/v1/tasks", &[], sized(limit + 1))
        .await?;
    assert_eq!(
        (too_large.status.as_u16(), too_large.code()),
        (413, "payload_too_large".into())
    );
    let far_too_large = world
        .http
        .send(Method::POST, "/v1/tasks", &[], sized(4 * limit))
        .await?;
    assert_eq!(far_too_large.status, 413);
    // Chunked, so that nothing is announced.
    let mut stream = TcpStream::connect(world.gateway.addr()).await?;
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        world.key
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..17 {
        stream.write_all(chunk.as_bytes()).await?;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"HTTP/1.1 413");
    world.stop().await
}

async fn raw(world: &World, request: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(world.gateway.addr()).await?;
    stream.write_all(request).await?;
    let mut answer = vec![0; 64 * 1024];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut answer))
        .await
        .context("an answer")??;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() -> Result<()> {
    let world = World::start().await?;
    let many: String = (0..200).map(|n| format!("X-{n}: a\r\n")).collect();
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n".to_owned(), "400"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nX A: b\r\n\r\n".to_owned(), "400"),
        ("NONSENSE\r\n\r\n".to_owned(), "400"),
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(100_000)), "431"),
        (format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        ("POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_owned(), "400"),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), "200"),
    ] {
        let answer = raw(&world, request.as_bytes()).await?;
        let first = answer.lines().next().unwrap_or_default().to_owned();
        assert!(first.contains(status), "{:?} -> {first}", &request[..request.len().min(60)]);
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_others_are_served() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        header_read_timeout: Duration::from_millis(500),
        body_read_timeout: Duration::from_millis(500),
        ..config()
    })
    .await?;
    let ends = async |sent: Vec<u8>| -> Result<(Duration, String)> {
        let mut stream = TcpStream::connect(world.gateway.addr()).await?;
        stream.write_all(&sent).await?;
        let start = Instant::now();
        let mut answer = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
        let _ = ended.with_context(|| format!("{:?} ends", String::from_utf8_lossy(&sent)))?;
        Ok((
            start.elapsed(),
            String::from_utf8_lossy(&answer).into_owned(),
        ))
    };
    for head in [
        "",
        "P",
        "PRI",
        "GET /healthz HT",
        "GET /healthz HTTP/1.1\r\nHost: x\r\n",
    ] {
        let (after, _) = ends(head.into()).await?;
        assert!(
            after < Duration::from_secs(10),
            "{head:?} was cut off after {after:?}"
        );
    }
    let (after, answer) = ends("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".into()).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        after < Duration::from_secs(10),
        "an idle connection is closed"
    );
    let body = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: 100\r\n\r\n{{",
        world.key
    );
    let (_, answer) = ends(body.into_bytes()).await?;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(world.http.get("/healthz").await?.status, 200);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_contradict_each_other_are_refused() -> Result<()> {
    let world = World::start().await?;
    let answer = world
        .http
        .send(Method::GET, "/v1/tasks", &[("x-api-key", "other")], "")
        .await?;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (400, "invalid_request".into())
    );
    let same = world
        .http
        .send(Method::GET, "/v1/tasks", &[("x-api-key", &world.key)], "")
        .await?;
    assert_eq!(same.status, 200);
    world.stop().await
}
