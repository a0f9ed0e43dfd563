//! Request smuggling: requests that two parsers could cut at different places. Whoever stands in front of the gateway must never let through
//! one request that the gateway reads as two.

use anyhow::Result;
use waybill_log::{Log, Stream, StreamSeq};

use super::wire;
use crate::world::World;

/// A whole request that makes a task: what would be smuggled.
fn smuggled(world: &World) -> String {
    let body = r#"{"targetUrl":"http://127.0.0.1:9/smuggled","delayUntil":"2040-12-31T00:00:00Z"}"#;
    format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        world.key,
        body.len()
    )
}

// API8.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_length_is_in_doubt_hides_no_second_one() -> Result<()> {
    let world = wire::world().await?;
    let inner = smuggled(&world);
    let length = inner.len();
    let chunked = "Transfer-Encoding: chunked";
    let last = "0\r\n\r\n";
    let cases = [
        // Both: the proxy may believe the one, the gateway the other.
        (
            format!("Content-Length: {}\r\n{chunked}", length + last.len()),
            format!("{last}{inner}"),
        ),
        (
            format!("{chunked}\r\nContent-Length: {}", length + last.len()),
            format!("{last}{inner}"),
        ),
        // Two lengths.
        (
            format!("Content-Length: 0\r\nContent-Length: {length}"),
            inner.clone(),
        ),
        (
            format!("Content-Length: {length}\r\nContent-Length: 0"),
            inner.clone(),
        ),
        (format!("Content-Length: 0, {length}"), inner.clone()),
        // Lengths that some read and some do not.
        ("Content-Length: +0".to_owned(), inner.clone()),
        ("Content-Length: -0".to_owned(), inner.clone()),
        ("Content-Length: 0x0".to_owned(), inner.clone()),
        ("Content-Length: 0 0".to_owned(), inner.clone()),
        ("Content-Length: \"0\"".to_owned(), inner.clone()),
        (
            "Content-Length: 99999999999999999999".to_owned(),
            inner.clone(),
        ),
        ("Content-Length : 0".to_owned(), inner.clone()),
        // Codings that some take for chunked.
        (
            "Transfer-Encoding: xchunked".to_owned(),
            format!("{last}{inner}"),
        ),
        (
            "Transfer-Encoding: chunked, identity".to_owned(),
            format!("{last}{inner}"),
        ),
        (
            "Transfer-Encoding: identity".to_owned(),
            format!("{last}{inner}"),
        ),
        (
            "Transfer-Encoding : chunked".to_owned(),
            format!("{last}{inner}"),
        ),
        (
            "Transfer-Encoding:\x0bchunked".to_owned(),
            format!("{last}{inner}"),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
            format!("{last}{inner}"),
        ),
        // A value that goes on in the next line.
        (
            "Transfer-Encoding:\r\n chunked".to_owned(),
            format!("{last}{inner}"),
        ),
        ("X-A: b\r\n Content-Length: 0".to_owned(), inner.clone()),
        // Line ends that only some take for one.
        ("X-A: b\rContent-Length: 0".to_owned(), inner.clone()),
        ("X-A: b\0\r\nContent-Length: 0".to_owned(), inner.clone()),
        // Sizes of chunks.
        (chunked.to_owned(), format!("-0\r\n\r\n{inner}")),
        (chunked.to_owned(), format!("0x0\r\n\r\n{inner}")),
        (
            chunked.to_owned(),
            format!("10000000000000000\r\n\r\n{inner}"),
        ),
        (chunked.to_owned(), format!("1\r\nAB\r\n{last}{inner}")),
        (chunked.to_owned(), format!("0\r\nX A: b\r\n\r\n{inner}")),
    ];
    let exchanges = cases.map(async |(framing, body)| {
        let request = format!("POST /v1/tasks HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}");
        let statuses = wire::send(&world, request).await?.statuses();
        let shown = format!("{framing:?} {:?} -> {statuses:?}", &body[..20]);
        assert!(statuses.len() <= 1, "{shown}: the second one was read");
        assert!(
            statuses.iter().all(|status| (400..500).contains(status)),
            "{shown}"
        );
        anyhow::Ok(())
    });
    futures::future::try_join_all(exchanges).await?;
    assert_eq!(
        world.log.bounds(Stream::Tasks).await?.last,
        StreamSeq(0),
        "nothing was stored"
    );
    // The same bytes framed as they should be are two requests, so that the test above could fail.
    let both = format!("POST /v1/tasks HTTP/1.1\r\nHost: x\r\n{chunked}\r\n\r\n{last}{inner}");
    let exchange = wire::send(&world, &both).await?;
    assert_eq!(exchange.statuses(), [401, 201], "{}", exchange.text());
    world.stop().await
}

// API8.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_only_some_can_read_are_refused() -> Result<()> {
    let world = wire::world().await?;
    for head in [
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\n X-A: b\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A: b\r\n\tc\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A: b\0\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A\0: b\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A: b\rX-B: c\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX A: b\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A : b\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        "GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-A\r\n\r\n",
        "GET  /v1/tasks HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/tasks\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/ta sks HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/tasks HTTP/9.9\r\nHost: x\r\n\r\n",
        "GET /v1/tasks HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /v1/tasks\r\n\r\n",
        "\0GET /v1/tasks HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let exchange = wire::send(&world, head).await?;
        assert_eq!(exchange.statuses(), [400], "{head:?}: {}", exchange.text());
    }
    assert_eq!(world.http.get("/readyz").await?.status, 200);
    world.stop().await
}

/// What the HTTP layer refuses by itself is answered like everything else.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_gets_a_whole_answer() -> Result<()> {
    let world = wire::world().await?;
    let many = "a: b\r\n".repeat(200);
    let long = "x".repeat(64 * 1024);
    for (status, code, head) in [
        (
            400,
            "bad_request",
            "GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
        ),
        (
            400,
            "bad_request",
            "GET /heal thz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        ),
        (
            400,
            "bad_request",
            "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n".to_owned(),
        ),
        (
            431,
            "headers_too_large",
            format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
        ),
        (
            431,
            "headers_too_large",
            format!("GET / HTTP/1.1\r\nHost: x\r\na: {long}\r\n\r\n"),
        ),
    ] {
        // Also after an answer on the same connection.
        for before in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let exchange = wire::send(&world, format!("{before}{head}")).await?;
            let last = exchange
                .text()
                .rsplit("HTTP/1.1 ")
                .next()
                .unwrap_or_default();
            let (fields, body) = last.split_once("\r\n\r\n").unwrap_or_default();
            assert!(last.starts_with(&status.to_string()), "{last}");
            for field in [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
                "x-request-id",
                "connection: close",
            ] {
                assert!(fields.contains(field), "{field} in {fields}");
            }
            let body: serde_json::Value = serde_json::from_str(body)?;
            assert_eq!(body["code"], code, "{body}");
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() -> Result<()> {
    let world = wire::world().await?;
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", 400),
    ] {
        let exchange = wire::send(&world, head).await?;
        let line = exchange.text().lines().next().unwrap_or_default();
        let answered = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse::<u16>().ok());
        assert_eq!(answered, Some(status), "{head}: {line}");
    }
    world.stop().await
}
