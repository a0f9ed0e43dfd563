//! What of nats-server the appender is built on, shown without it. When one of these fails after an upgrade, the server has
//! changed, and the rules in `append/plan.rs` and `append/appender.rs` are to be thought through again.

use async_nats::HeaderMap;
use serde_json::Value;
use waybill_log::{AppendError, JetStreamLog, Log, Stream, StreamSeq};

use crate::fixture::{EVENT, a_jetstream_log, a_record, all, an_append, append_one};

const OWNER: &str = "tasks.1.owner";

/// A message as the appender would write it, with further headers.
fn headers(further: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let always = [
        ("Wb-Event", "test.happened.v1"),
        ("Wb-Actor", "system:test"),
    ];
    for (name, value) in always.iter().chain(further) {
        headers.insert(*name, *value);
    }
    headers
}

fn expecting<'a>(seq: &'a str, on: &'a str) -> [(&'a str, &'a str); 2] {
    [
        ("Nats-Expected-Last-Subject-Sequence", seq),
        ("Nats-Expected-Last-Subject-Sequence-Subject", on),
    ]
}

/// The code of the error, or 0.
async fn publish(log: &JetStreamLog, subject: &str, headers: HeaderMap) -> u64 {
    let request = async_nats::Request::new()
        .headers(headers)
        .payload("x".into());
    let answer = log.client().send_request(subject.to_owned(), request).await;
    let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}

/// Sends an atomic batch; answers with the code of its error, or 0.
async fn publish_batch(log: &JetStreamLog, id: &str, messages: Vec<(&str, HeaderMap)>) -> u64 {
    let count = messages.len();
    for (index, (subject, mut headers)) in messages.into_iter().enumerate() {
        headers.insert("Nats-Batch-Id", id);
        headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
        if index + 1 == count {
            headers.insert("Nats-Batch-Commit", "1");
            return publish(log, subject, headers).await;
        }
        let client = log.client();
        client
            .publish_with_headers(subject.to_owned(), headers, "x".into())
            .await
            .unwrap();
    }
    0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_id_refuses_its_whole_batch() {
    let (_server, log) = a_jetstream_log().await;
    assert_eq!(
        publish(&log, EVENT, headers(&[("Nats-Msg-Id", "a")])).await,
        0
    );
    for position in 0..3 {
        let messages = (0..3)
            .map(|index| {
                let id: &[_] = if index == position {
                    &[("Nats-Msg-Id", "a")]
                } else {
                    &[]
                };
                (EVENT, headers(id))
            })
            .collect();
        assert_eq!(
            publish_batch(&log, &format!("b{position}"), messages).await,
            10201
        );
    }
    assert_eq!(all(&log, Stream::Tasks).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_one_copy_the_fence_is_looked_at_before_the_id() {
    let (_server, log) = a_jetstream_log().await;
    let with_id = |seq| {
        let [a, b] = expecting(seq, OWNER);
        headers(&[a, b, ("Nats-Msg-Id", "a")])
    };
    assert_eq!(publish(&log, OWNER, with_id("0")).await, 0);
    assert_eq!(publish(&log, OWNER, with_id("0")).await, 10071);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_batch_fences_are_held_against_what_was_there_before_it() {
    let (_server, log) = a_jetstream_log().await;
    let expects_nothing = || headers(&expecting("0", "tasks.1.>"));
    let messages = vec![(EVENT, expects_nothing()), (OWNER, expects_nothing())];
    // Each expects to be the first under `tasks.1.>`, and both are stored. So they must not share a batch.
    assert_eq!(publish_batch(&log, "b", messages).await, 0);
    assert_eq!(all(&log, Stream::Tasks).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_may_watch_another_subject_and_be_one_of_a_batch() {
    let (_server, log) = a_jetstream_log().await;
    assert_eq!(append_one(&log, OWNER, "owned").await, StreamSeq(1));
    let fenced = |seq| headers(&expecting(seq, OWNER));
    let good = vec![
        (EVENT, fenced("1")),
        (EVENT, headers(&[])),
        (EVENT, fenced("1")),
    ];
    assert_eq!(publish_batch(&log, "good", good).await, 0);
    let bad = vec![
        (EVENT, fenced("1")),
        (EVENT, headers(&[])),
        (EVENT, fenced("7")),
    ];
    assert_eq!(publish_batch(&log, "bad", bad).await, 10071);
    assert_eq!(log.bounds(Stream::Tasks).await.unwrap().last, StreamSeq(4));
}

/// A restore onto a smaller disk gives TASKS less than it holds. Nothing of it may go for that: only what is new is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_limit_than_what_tasks_holds_drops_nothing_of_it() {
    let (_server, log) = a_jetstream_log().await;
    let payload = "x".repeat(1_000);
    for _ in 0..50 {
        append_one(&log, EVENT, &payload).await;
    }
    let held = all(&log, Stream::Tasks).await;
    let bytes = log.bounds(Stream::Tasks).await.unwrap().bytes;
    log.lower_tasks(bytes / 2).await.unwrap();
    let refused = log.append(an_append(vec![a_record(EVENT, "new")])).await;
    assert!(
        matches!(refused, Err(AppendError::Full { .. })),
        "{refused:?}"
    );
    assert_eq!(all(&log, Stream::Tasks).await, held);
    log.raise(Stream::Tasks.name(), 2 * bytes).await.unwrap();
    append_one(&log, EVENT, "new").await;
    assert_eq!(all(&log, Stream::Tasks).await.len(), held.len() + 1);
}
