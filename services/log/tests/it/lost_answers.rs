//! Acknowledgements that never arrive: what landed is recognised as landed, once, at its true place.

use std::time::Duration;

use waybill_log::{Append, AppendError, Appended, JetStreamLog, Log, Stream, StreamSeq, connect};
use waybill_testkit::{NatsServer, Proxy, eventually};

use crate::fixture::{
    EVENT, SOON, Shape, a_record, all, an_append, append_one, config_at, payloads,
};

const OWNER: &str = "tasks.1.owner";

/// A log behind a proxy, and one that sees the server directly.
struct Scene {
    _server: NatsServer,
    proxy: Proxy,
    log: JetStreamLog,
    witness: JetStreamLog,
}

async fn a_scene() -> Scene {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let mut config = config_at(&proxy.url());
    config.request_timeout_ms = 15_000;
    Scene {
        log: connect(&config).await.unwrap(),
        witness: connect(&config_at(&server.url())).await.unwrap(),
        _server: server,
        proxy,
    }
}

impl Scene {
    /// Appends such that the first try lands, its answer is lost, and the connection breaks.
    async fn append_unanswered(&self, append: Append) -> Result<Appended, AppendError> {
        self.append_unanswered_then(append, async || {}).await
    }

    /// The same, and something happens before the connection is back.
    async fn append_unanswered_then(
        &self,
        append: Append,
        meanwhile: impl AsyncFnOnce(),
    ) -> Result<Appended, AppendError> {
        let before = self.witness.bounds(Stream::Tasks).await.unwrap().last;
        self.proxy.deafen();
        let interfere = async {
            eventually(SOON, async || {
                self.witness.bounds(Stream::Tasks).await.unwrap().last > before
            })
            .await
            .unwrap();
            meanwhile().await;
            self.proxy.cut();
            self.proxy.heal();
        };
        let (appended, ()) = tokio::join!(self.log.append(append), interfere);
        appended
    }
}

fn records(subject: &str, count: usize) -> Vec<waybill_log::NewRecord> {
    (0..count)
        .map(|n| a_record(subject, &n.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_is_recognised_by_its_id() {
    let scene = a_scene().await;
    append_one(&scene.witness, EVENT, "before").await;
    let appended = scene
        .append_unanswered(an_append(records(EVENT, 1)))
        .await
        .unwrap();
    assert_eq!(appended.seqs, [StreamSeq(2)]);
    assert!(
        !appended.duplicate,
        "the log's own repetition is no duplicate of the caller's"
    );
    assert_eq!(all(&scene.witness, Stream::Tasks).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_found_where_it_landed() {
    let scene = a_scene().await;
    append_one(&scene.witness, EVENT, "before").await;
    let appended = scene
        .append_unanswered_then(an_append(records(EVENT, 100)).atomic(), async || {
            // Others write to the same subject meanwhile.
            for n in 0..20 {
                append_one(&scene.witness, EVENT, &format!("later {n}")).await;
            }
        })
        .await
        .unwrap();
    assert_eq!(appended.seqs, (2..=101).map(StreamSeq).collect::<Vec<_>>());
    assert_eq!(all(&scene.witness, Stream::Tasks).await.len(), 1 + 100 + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_moved_its_own_fence_is_no_conflict() {
    let scene = a_scene().await;
    for count in [1, 3] {
        let last = scene.witness.last(Stream::Tasks, OWNER).await.unwrap();
        let last = last.map_or(StreamSeq(0), |record| record.seq);
        let append = an_append(records(OWNER, count)).fenced_by(OWNER, last);
        let appended = scene.append_unanswered(append).await.unwrap();
        assert_eq!(appended.seqs.len(), count);
        assert_eq!(appended.seqs[0], last.next());
    }
    assert_eq!(all(&scene.witness, Stream::Tasks).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_lost_its_partition_after_its_append_learns_that_it_landed() {
    let scene = a_scene().await;
    let owned = append_one(&scene.witness, OWNER, "owned").await;
    for count in [1, 50] {
        let fence = scene
            .witness
            .last(Stream::Tasks, OWNER)
            .await
            .unwrap()
            .unwrap()
            .seq;
        assert!(fence >= owned);
        let append = an_append(records(EVENT, count)).fenced_by(OWNER, fence);
        let appended = scene
            .append_unanswered_then(append, async || {
                append_one(&scene.witness, OWNER, "stolen").await;
            })
            .await
            .unwrap();
        assert_eq!(appended.seqs[0], fence.next());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_learns_by_its_deadline_that_the_outcome_is_unknown() {
    let scene = a_scene().await;
    let mut config = config_at(&scene.proxy.url());
    config.request_timeout_ms = 700;
    let log = connect(&config).await.unwrap();
    append_one(&log, EVENT, "before").await;
    scene.proxy.deafen();
    let start = std::time::Instant::now();
    let appended = log.append(an_append(records(EVENT, 1))).await;
    assert!(
        matches!(appended, Err(AppendError::Unknown { .. })),
        "{appended:?}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    scene.proxy.heal();
    let again = an_append(records(EVENT, 1));
    eventually(SOON, async || log.append(again.clone()).await.is_ok())
        .await
        .unwrap();
    let stored = payloads(&all(&scene.witness, Stream::Tasks).await);
    assert_eq!(stored[..2], ["before", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_connection_the_caller_learns_that_nothing_was_stored() {
    let scene = a_scene().await;
    let mut config = config_at(&scene.proxy.url());
    config.request_timeout_ms = 500;
    let log = connect(&config).await.unwrap();
    scene.proxy.cut();
    // The first ones may be handed to a connection that is not known to be dead yet.
    eventually(SOON, async || {
        let append = an_append(vec![a_record(EVENT, "perhaps")]);
        matches!(
            log.append(append).await,
            Err(AppendError::Unavailable { .. })
        )
    })
    .await
    .unwrap();
    for count in [1, 100] {
        let records = (0..count).map(|_| a_record(EVENT, "refused")).collect();
        let refused = log.append(an_append(records)).await;
        assert!(
            matches!(refused, Err(AppendError::Unavailable { .. })),
            "{refused:?}"
        );
    }
    scene.proxy.heal();
    let marker = an_append(vec![a_record(EVENT, "marker")]);
    eventually(SOON, async || log.append(marker.clone()).await.is_ok())
        .await
        .unwrap();
    let stored = payloads(&all(&scene.witness, Stream::Tasks).await);
    assert!(
        !stored.iter().any(|payload| payload == "refused"),
        "{stored:?}"
    );
    assert_eq!(stored.last().map(String::as_str), Some("marker"));
}
