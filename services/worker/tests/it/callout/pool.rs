//! Connections are used again, and what happens when the target closes one meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use waybill_worker::callout::FailReason;

use super::raw::{RawTarget, read_head};
use super::{PATIENCE, a_sink, answered, failed, post, to_loopback};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for _ in 0..20 {
        answered(callouts.call(post(&sink.url("/"))).await);
    }
    assert_eq!((sink.count(), sink.connections()), (20, 1));
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let (closed, mut closing) = tokio::sync::mpsc::channel(1);
    let target = RawTarget::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(OK).await;
            let _ = stream.shutdown().await;
            // The caller has seen the end when it closes its side.
            let _ = stream.read_u8().await;
            let _ = closed.send(()).await;
        }
    })
    .await;
    let callouts = to_loopback();
    for _ in 0..3 {
        answered(callouts.call(post(&target.url())).await);
        tokio::time::timeout(PATIENCE, closing.recv())
            .await
            .expect("the caller closes what the target has closed");
    }
    assert_eq!(target.connections(), 3);
}

#[tokio::test]
async fn a_request_that_a_pooled_connection_lost_is_reported_and_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let target = RawTarget::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            read_head(&mut stream).await;
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(OK).await;
            // The second request is taken, perhaps acted on, and never answered.
            if read_head(&mut stream).await {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let callouts = to_loopback();
    answered(callouts.call(post(&target.url())).await);
    let failure = failed(callouts.call(post(&target.url())).await);
    assert_eq!(failure.reason, FailReason::ClosedEarly);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    assert_eq!(target.connections(), 1);
}

#[tokio::test]
async fn connections_end_with_the_client() {
    let (closed, mut closing) = tokio::sync::mpsc::channel(1);
    let target = RawTarget::start(move |mut stream, _| {
        let closed = closed.clone();
        async move {
            read_head(&mut stream).await;
            let _ = stream.write_all(OK).await;
            read_head(&mut stream).await;
            let _ = closed.send(()).await;
        }
    })
    .await;
    let callouts = to_loopback();
    answered(callouts.call(post(&target.url())).await);
    drop(callouts);
    tokio::time::timeout(PATIENCE, closing.recv())
        .await
        .expect("the connection is closed");
}
