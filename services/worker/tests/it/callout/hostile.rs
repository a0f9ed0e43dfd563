//! Targets that are slow, huge, broken or silent.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use waybill_domain::egress::Egress;
use waybill_worker::callout::answer::{COUNTED_BODY_BYTES, KEPT_BODY_BYTES};
use waybill_worker::callout::{CalloutConfig, FailReason, Phase, Request};

use super::raw::{RawTarget, read_head};
use super::{PATIENCE, a_sink, answered, failed, post, to_loopback, with};

#[tokio::test]
async fn an_answer_without_an_end_is_cut_and_its_connection_dropped() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for path in ["/big/10000000000", "/endless"] {
        let started = Instant::now();
        let answer = answered(callouts.call(post(&sink.url(path))).await);
        assert!(
            started.elapsed() < PATIENCE / 2,
            "{path} {answer:?} {:?}",
            started.elapsed()
        );
        assert_eq!((answer.status, answer.truncated), (StatusCode::OK, true));
        assert_eq!(answer.body.len(), KEPT_BODY_BYTES);
        // At most the last read beyond what is counted.
        assert!(answer.body_bytes > COUNTED_BODY_BYTES);
        assert!(answer.body_bytes < COUNTED_BODY_BYTES + 1024 * 1024);
    }
    assert_eq!(sink.connections(), 2);
}

#[tokio::test]
async fn a_large_answer_is_counted_to_its_end_and_its_connection_kept() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for size in [65_536, 65_537, 1_000_000] {
        let answer = answered(
            callouts
                .call(post(&sink.url(&format!("/big/{size}"))))
                .await,
        );
        assert_eq!(answer.body_bytes, size);
        assert_eq!(answer.body.len(), KEPT_BODY_BYTES);
        assert_eq!(answer.truncated, size > 65_536);
    }
    assert_eq!(sink.connections(), 1);
}

#[tokio::test]
async fn as_much_of_a_large_answer_is_kept_as_its_call_wants() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for (size, kept) in [(200_000, 200_000), (300_000, 262_144), (100, 100)] {
        let request = Request {
            kept_body: 262_144,
            ..post(&sink.url(&format!("/big/{size}")))
        };
        let answer = answered(callouts.call(request).await);
        assert_eq!((answer.body_bytes, answer.body.len()), (size, kept));
        assert_eq!(answer.truncated, size > 262_144);
    }
}

#[tokio::test]
async fn an_answer_that_other_clients_read_is_read() {
    for answer in [
        // A header that continues in the next line (RFC 9112, 5.2).
        &b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\nContent-Length: 2\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nX-Spaced : a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno header at all\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let target = RawTarget::saying(answer).await;
        let answer = answered(to_loopback().call(post(&target.url())).await);
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::OK, &b"ok"[..])
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_says_where() {
    for (answer, part) in [
        (
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            "its first line names no version of HTTP",
        ),
        (
            b"HTTP/1.1 abc Odd\r\n\r\n",
            "its first line has no status from 100 to 999",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "its Content-Length is no number",
        ),
    ] {
        let target = RawTarget::saying(answer).await;
        let failure = failed(to_loopback().call(post(&target.url())).await);
        assert_eq!(failure.reason, FailReason::Protocol);
        assert_eq!(
            failure.message,
            format!("What the target answered is not HTTP: {part}")
        );
    }
}

#[tokio::test]
async fn a_target_that_never_answers_costs_its_time_limit() {
    let sink = a_sink().await;
    let mut request = post(&sink.url("/hang"));
    request.first_byte = Duration::from_millis(200);
    let failure = failed(to_loopback().call(request).await);
    assert_eq!(failure.reason, FailReason::Timeout(Phase::FirstByte));
    assert_eq!(failure.message, "No answer from the target within 0.2 s");
    assert!(failure.duration >= Duration::from_millis(200));
}

#[tokio::test]
async fn an_answer_that_trickles_costs_the_time_limit_of_the_call() {
    let sink = a_sink().await;
    let mut request = post(&sink.url("/trickle/10ms"));
    request.total = Duration::from_millis(300);
    let failure = failed(to_loopback().call(request).await);
    assert_eq!(failure.reason, FailReason::Timeout(Phase::Body));
}

#[tokio::test]
async fn a_tls_handshake_that_never_ends_costs_the_time_limit_of_connecting() {
    let target = RawTarget::start(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let callouts = with(CalloutConfig {
        egress: Egress::loopback(),
        connect_timeout: Duration::from_millis(200),
        ..CalloutConfig::default()
    });
    let url = target.url().replace("http://", "https://");
    let failure = failed(callouts.call(post(&url)).await);
    assert_eq!(failure.reason, FailReason::Timeout(Phase::Connect));
}

#[tokio::test]
async fn nobody_listening_is_a_refused_connection() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = closed.local_addr().expect("an address");
    drop(closed);
    let failure = failed(to_loopback().call(post(&format!("http://{addr}/"))).await);
    assert_eq!(failure.reason, FailReason::Connect);
    assert_eq!(failure.message, "The target refused the connection");
}

#[tokio::test]
async fn an_answer_that_ends_early_is_no_answer() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for path in ["/close", "/broken/0", "/broken/1000", "/broken/300000"] {
        let failure = failed(callouts.call(post(&sink.url(path))).await);
        assert_eq!(failure.reason, FailReason::ClosedEarly, "{path}");
    }
    let half_a_head = RawTarget::saying(b"HTTP/1.1 200 OK\r\nContent-Le").await;
    let failure = failed(callouts.call(post(&half_a_head.url())).await);
    assert_eq!(failure.reason, FailReason::ClosedEarly);
}

#[tokio::test]
async fn what_is_not_http_fails() {
    let callouts = to_loopback();
    for answer in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let target = RawTarget::saying(answer).await;
        let failure = failed(callouts.call(post(&target.url())).await);
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(failure.reason, FailReason::Protocol, "{shown} {failure:?}");
    }
}

#[tokio::test]
async fn a_head_beyond_its_limit_fails_and_one_below_is_kept_in_part() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    let failure = failed(callouts.call(post(&sink.url("/header/200000"))).await);
    assert_eq!(failure.reason, FailReason::Protocol);
    assert_eq!(
        failure.message,
        "The head of the target's answer is too large"
    );

    let answer = answered(callouts.call(post(&sink.url("/header/20000"))).await);
    assert!(answer.headers.iter().all(|(name, _)| name != "x-filler"));
}

#[tokio::test]
async fn endless_interim_answers_cost_the_time_limit() {
    let target = RawTarget::start(|mut stream, _| async move {
        read_head(&mut stream).await;
        while stream
            .write_all(b"HTTP/1.1 102 Processing\r\n\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    let mut request = post(&target.url());
    request.first_byte = Duration::from_millis(300);
    let failure = failed(to_loopback().call(request).await);
    assert_eq!(failure.reason, FailReason::Timeout(Phase::FirstByte));
}

#[tokio::test]
async fn a_given_up_call_closes_its_connection() {
    let (closed, mut closing) = tokio::sync::mpsc::channel(1);
    let target = RawTarget::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            // Ends when the caller closes, without a second request.
            let again = read_head(&mut stream).await;
            let _ = closed.send(again).await;
        }
    })
    .await;
    let mut request = post(&target.url());
    request.total = Duration::from_millis(200);
    failed(to_loopback().call(request).await);
    let again = tokio::time::timeout(PATIENCE, closing.recv())
        .await
        .expect("the connection is closed");
    assert_eq!(again, Some(false));
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_is_taken() {
    let target = RawTarget::start(|mut stream, _| async move {
        let mut some = [0; 1000];
        let _ = stream.read_exact(&mut some).await;
        let _ = stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    })
    .await;
    let mut request = post(&target.url());
    request.body = vec![b'x'; 8 * 1024 * 1024].into();
    let answer = answered(to_loopback().call(request).await);
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_target_that_does_not_read_costs_the_time_limit() {
    let target = RawTarget::start(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let mut request = post(&target.url());
    request.body = vec![b'x'; 8 * 1024 * 1024].into();
    request.first_byte = Duration::from_millis(200);
    let failure = failed(to_loopback().call(request).await);
    assert_eq!(failure.reason, FailReason::Timeout(Phase::FirstByte));
}
