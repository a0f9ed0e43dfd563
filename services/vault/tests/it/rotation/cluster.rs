//! Three servers: the leader decides puts and erasures of a key, and applies them one after the
//! other.

use futures::{StreamExt, stream};
use waybill_log::{ConnectError, KeyStoreError};
use waybill_testkit::NatsCluster;

use super::*;

async fn a_replicated_log() -> (NatsCluster, JetStreamLog) {
    let cluster = NatsCluster::start().await.expect("a cluster");
    let mut config = NatsConfig {
        request_timeout_ms: 10_000,
        connect_timeout_ms: 40_000,
        ..NatsConfig::at("")
    };
    config.servers = cluster.urls().into_iter().map(Into::into).collect();
    config.streams.replicas = 3;
    // Streams with three replicas may be refused for a moment while the cluster is still forming.
    let mut log = None;
    eventually(SOON * 2, async || {
        log = match connect(&config).await {
            Ok(log) => Some(log),
            Err(ConnectError::Streams(_)) => None,
            Err(error) => panic!("{error}"),
        };
        log.is_some()
    })
    .await
    .expect("streams of three copies");
    (cluster, log.expect("just there"))
}

/// One cluster for all parts, since starting one takes most of the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_on_a_cluster_keeps_its_promises() {
    let (cluster, log) = a_replicated_log().await;
    keys_move_and_their_older_wraps_are_gone_from_every_copy(&cluster, &log).await;
    a_key_that_is_revoked_beside_a_rotation_does_not_come_back(&log).await;
}

async fn keys_move_and_their_older_wraps_are_gone_from_every_copy(
    cluster: &NatsCluster,
    log: &JetStreamLog,
) {
    let rings = Rings::fresh();
    let mut records = Vec::new();
    for number in 0..20 {
        records.push(rings.store(log, name(number), rings.newest()).await);
    }
    let after = rings.with_successor();
    let erasing = async {
        for record in records.iter().step_by(2) {
            log.erase(&record.name).await.expect("erased");
        }
    };
    let (done, ()) = tokio::join!(after.rotate(log), erasing);
    done.expect("rotated");
    let left = after.newest_alone();
    for (index, record) in records.iter().enumerate() {
        let expected = (index % 2 == 1).then(|| record.value.clone());
        assert_eq!(left.open(log, record).await, expected);
        let trace = trace(&record.first);
        eventually(SOON, async || {
            let mut nodes = cluster.nodes.iter();
            !nodes.any(|node| lies_in_the_stream(&node.store(), &trace))
        })
        .await
        .expect("no older wrapped key is left in a copy of the stream");
    }
}

/// Like [`lies_in`], but only in the stream's own folder: the servers' Raft logs are compacted at
/// their own pace, which the tests of the stream cover.
fn lies_in_the_stream(folder: &Path, bytes: &[u8]) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        let is_stream = entry.file_name() == "VKEYS";
        path.is_dir() && (is_stream && lies_in(&path, bytes) || lies_in_the_stream(&path, bytes))
    })
}

/// A rotation puts a key while it is revoked: whichever comes second, the key is gone. The leader
/// checks a put against the applied state, so without a barrier in the erasure, a few in a hundred
/// keys come back.
async fn a_key_that_is_revoked_beside_a_rotation_does_not_come_back(log: &JetStreamLog) {
    /// Enough for some to overlap in the wrong order.
    const KEYS: u16 = 800;
    let outcomes: Vec<(bool, bool)> = stream::iter(1000..1000 + KEYS)
        .map(|number| async move {
            let name = name(number);
            let value = |text: &'static str| Bytes::from_static(text.as_bytes());
            let first = log.put(&name, value("old"), NONE, None).await;
            let first = first.expect("stored");
            let rewrapped = async {
                // Spread over the time that the erasure takes, so that they overlap in every order.
                tokio::time::sleep(Duration::from_micros(u64::from(number % 11) * 300)).await;
                log.put(&name, value("new"), first, None).await
            };
            let (put, erased) = tokio::join!(rewrapped, log.erase(&name));
            erased.expect("erased");
            assert!(
                matches!(put, Ok(_) | Err(KeyStoreError::Conflict { .. })),
                "{put:?}"
            );
            let left = log.get(&name).await.expect("readable");
            (put.is_ok(), left.is_some())
        })
        .buffer_unordered(8)
        .collect()
        .await;
    let raced = outcomes.iter().filter(|(put, _)| *put).count();
    assert!(raced > 0, "the two met");
    let left = outcomes.iter().filter(|(_, left)| *left).count();
    assert_eq!(left, 0, "of {raced} that were put and erased at once");
}
