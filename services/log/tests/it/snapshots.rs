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
