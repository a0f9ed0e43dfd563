//! Snapshots that went bad.

use std::time::{Duration, Instant};

use bytes::Bytes;
use waybill_log::Snapshots;

use crate::fixture::a_jetstream_log;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_whose_parts_are_gone_reads_as_none_and_soon() {
    let (_server, log) = a_jetstream_log().await;
    let value = Bytes::from(vec![7; 700_000]);
    log.put("partition-1", value.clone()).await.unwrap();
    log.put("partition-2", value.clone()).await.unwrap();
    let context = async_nats::jetstream::new(log.client());
    let stream = context.get_stream("OBJ_snapshots").await.unwrap();
    // The second of its parts; each is one message, and the description of the whole follows them.
    stream.delete_message(2).await.unwrap();
    let start = Instant::now();
    assert_eq!(log.get("partition-1").await.unwrap(), None);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(log.get("partition-2").await.unwrap(), Some(value.clone()));
    log.put("partition-1", value.clone()).await.unwrap();
    assert_eq!(log.get("partition-1").await.unwrap(), Some(value));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_snapshots_that_were_never_completed_are_removed() {
    let (_server, log) = a_jetstream_log().await;
    let value = Bytes::from(vec![7; 700_000]);
    log.put("partition-1", value.clone()).await.unwrap();
    let context = async_nats::jetstream::new(log.client());
    // As a process leaves them that dies before the message that names them.
    for _ in 0..3 {
        let stored = context.publish("$O.snapshots.C.abandoned", value.slice(..1_000));
        stored.await.unwrap().await.unwrap();
    }
    let messages = async || {
        let mut stream = context.get_stream("OBJ_snapshots").await.unwrap();
        stream.info().await.unwrap().state.messages
    };
    let before = messages().await;
    // They may be of an object that is being stored right now.
    assert_eq!(
        log.sweep_snapshots(Duration::from_secs(60)).await.unwrap(),
        0
    );
    assert_eq!(
        log.sweep_snapshots(Duration::from_secs(60)).await.unwrap(),
        0
    );
    assert_eq!(messages().await, before);
    assert_eq!(log.sweep_snapshots(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(messages().await, before - 3);
    assert_eq!(log.get("partition-1").await.unwrap(), Some(value));
}
