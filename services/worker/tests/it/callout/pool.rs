//! Reuse of connections, and what happens when the target closes one meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
            // The caller has noticed the end when it closes its side.
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
async fn a_request_that_met_a_closing_connection_is_sent_once_more_on_a_fresh_one() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let target = RawTarget::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            read_head(&mut stream).await;
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(OK).await;
            // The second request meets the end of the connection.
            if read_head(&mut stream).await {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let callouts = to_loopback();
    answered(callouts.call(post(&target.url())).await);
    answered(callouts.call(post(&target.url())).await);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_request_is_not_sent_a_third_time() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let target = RawTarget::start(move |mut stream, number| {
        let counter = counter.clone();
        async move {
            while read_head(&mut stream).await {
                // Only the very first request is answered.
                if counter.fetch_add(1, Ordering::SeqCst) > 0 || number > 0 {
                    return;
                }
                let _ = stream.write_all(OK).await;
            }
        }
    })
    .await;
    let callouts = to_loopback();
    answered(callouts.call(post(&target.url())).await);
    let failure = failed(callouts.call(post(&target.url())).await);
    assert_eq!(failure.reason, FailReason::ClosedEarly);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    assert_eq!(target.connections(), 2);
}

#[tokio::test]
async fn a_broken_answer_on_a_used_connection_is_reported_and_not_sent_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let target = RawTarget::start(move |mut stream, _| {
        let counter = counter.clone();
        async move {
            read_head(&mut stream).await;
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(OK).await;
            if read_head(&mut stream).await {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 20").await;
            }
        }
    })
    .await;
    let callouts = to_loopback();
    answered(callouts.call(post(&target.url())).await);
    let failure = failed(callouts.call(post(&target.url())).await);
    assert_eq!(failure.reason, FailReason::ClosedEarly);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_target_that_closes_idle_connections_after_milliseconds_fails_no_call() {
    const IDLE: Duration = Duration::from_millis(5);
    let target = RawTarget::start(move |mut stream, _| async move {
        let mut asked = read_head(&mut stream).await;
        while asked {
            let _ = stream.write_all(OK).await;
            let next = tokio::time::timeout(IDLE, read_head(&mut stream)).await;
            asked = next.unwrap_or(false);
        }
    })
    .await;
    let callouts = to_loopback();
    let mut calls = tokio::task::JoinSet::new();
    for lane in 0..8_u64 {
        let (callouts, url) = (callouts.clone(), target.url());
        calls.spawn(async move {
            for _ in 0..60 {
                answered(callouts.call(post(&url)).await);
                // Each lane returns at about the time when its connection is closed.
                tokio::time::sleep(IDLE - Duration::from_micros(200 * lane)).await;
            }
        });
    }
    while let Some(lane) = calls.join_next().await {
        lane.expect("no call of the lane fails");
    }
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
