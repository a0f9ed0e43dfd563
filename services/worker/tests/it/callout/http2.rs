//! HTTP/2 targets that refuse streams, reset them, go away or never end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use waybill_worker::callout::answer::{COUNTED_BODY_BYTES, KEPT_BODY_BYTES};
use waybill_worker::callout::{Callouts, FailReason};

use super::raw::RawTarget;
use super::tls::{Authority, NAME, url};
use super::{answered, failed, post};

type Session = Connection<TlsStream<TcpStream>, Bytes>;

/// A target that gets HTTP/2 sessions, numbered from 0, and a client that trusts it.
async fn sessions<F>(
    serve: impl Fn(Session, usize) -> F + Send + Sync + 'static,
) -> (RawTarget, Callouts)
where
    F: Future<Output = ()> + Send + 'static,
{
    let authority = Authority::new("authority");
    let acceptor = authority.server(NAME, &[b"h2"], false);
    let serve = Arc::new(serve);
    let target = RawTarget::start(move |stream, number| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            let tls = acceptor.accept(stream).await.expect("a session");
            let session = h2::server::handshake(tls).await.expect("HTTP/2");
            serve(session, number).await;
        }
    })
    .await;
    (target, authority.callouts())
}

/// Like [`sessions`], but with one stream after the other, numbered from 0.
async fn streams(
    answer: impl Fn(SendResponse<Bytes>, usize) + Send + Sync + Clone + 'static,
) -> (RawTarget, Callouts, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let (target, callouts) = sessions(move |mut session, _| {
        let (answer, counter) = (answer.clone(), counter.clone());
        async move {
            while let Some(Ok((_, respond))) = next(&mut session).await {
                answer(respond, counter.fetch_add(1, Ordering::SeqCst));
            }
        }
    })
    .await;
    (target, callouts, requests)
}

async fn next(
    session: &mut Session,
) -> Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>> {
    session.accept().await
}

fn ok(mut respond: SendResponse<Bytes>) {
    let _ = respond.send_response(Response::new(()), true);
}

#[tokio::test]
async fn a_stream_that_the_target_refused_is_sent_again_at_once() {
    let (target, callouts, requests) = streams(|mut respond, number| match number {
        0 => respond.send_reset(Reason::REFUSED_STREAM),
        _ => ok(respond),
    })
    .await;
    answered(callouts.call(post(&url(&target))).await);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_target_that_refuses_every_stream_is_not_asked_for_ever() {
    let (target, callouts, requests) =
        streams(|mut respond, _| respond.send_reset(Reason::REFUSED_STREAM)).await;
    let failure = failed(callouts.call(post(&url(&target))).await);
    assert_eq!(failure.reason, FailReason::Protocol);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_stream_that_broke_off_is_reported_and_not_sent_again() {
    let (target, callouts, requests) =
        streams(|mut respond, _| respond.send_reset(Reason::INTERNAL_ERROR)).await;
    let failure = failed(callouts.call(post(&url(&target))).await);
    assert_eq!(failure.reason, FailReason::Protocol);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_target_that_goes_away_is_called_on_another_connection() {
    let (target, callouts) = sessions(|mut session, _| async move {
        if let Some(Ok((_, respond))) = session.accept().await {
            ok(respond);
        }
        session.graceful_shutdown();
        while let Some(Ok((_, respond))) = session.accept().await {
            ok(respond);
        }
    })
    .await;
    for _ in 0..10 {
        answered(callouts.call(post(&url(&target))).await);
    }
    assert!(target.connections() > 1);
}

#[tokio::test]
async fn an_answer_without_an_end_costs_its_stream_and_not_the_connection() {
    let (target, callouts, _) = streams(|mut respond, number| {
        if number == 20 {
            return ok(respond);
        }
        if let Ok(mut body) = respond.send_response(Response::new(()), false) {
            tokio::spawn(async move {
                let chunk = Bytes::from_static(&[b'x'; 16 * 1024]);
                loop {
                    body.reserve_capacity(chunk.len());
                    match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                        Some(Ok(room)) => {
                            let part = chunk.slice(..room.min(chunk.len()));
                            if body.send_data(part, false).is_err() {
                                return;
                            }
                        }
                        _ => return,
                    }
                }
            });
        }
    })
    .await;
    // Far more than the connection's window in total, so the window must be returned for what is
    // not read.
    for _ in 0..20 {
        let answer = answered(callouts.call(post(&url(&target))).await);
        assert_eq!(answer.body.len(), KEPT_BODY_BYTES);
        assert!(answer.truncated && answer.body_bytes > COUNTED_BODY_BYTES);
    }
    answered(callouts.call(post(&url(&target))).await);
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn a_head_beyond_its_limit_fails() {
    let (target, callouts, _) = streams(|mut respond, _| {
        let answer = Response::builder().header("x-filler", "x".repeat(200_000));
        let _ = respond.send_response(answer.body(()).expect("valid"), true);
    })
    .await;
    let failure = failed(callouts.call(post(&url(&target))).await);
    assert_eq!(failure.reason, FailReason::Protocol, "{failure:?}");
}
