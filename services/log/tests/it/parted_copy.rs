//! A tail whose consumer lies on a copy that lost its leader.

use std::time::Duration;

use serde_json::Value;
use waybill_domain::access::fence::{FenceRecord, GatewayId, MarkRecord};
use waybill_log::{Fences, JetStreamLog, Log, Stream, StreamSeq, Tail, connect};
use waybill_testkit::{NatsCluster, eventually};

use crate::cluster::{a_replicated_log, config};
use crate::fixture::{EVENT, SOON, Shape, a_record, an_append};

/// Those that are read by tails.
const STREAMS: [&str; 3] = ["FENCE", "CONTROL", "TASKS"];
const NODES: usize = 3;
/// Time limit of one publish to FENCE.
const WITHIN: Duration = Duration::from_secs(2);
/// A copy that hears nothing of its leader begins an election after 4 s at the earliest, and what comes after that proves nothing.
const ELECTION: Duration = Duration::from_secs(4);
/// Another consumer may be made on the same copy by chance, which takes a part of the time: then the servers are parted once more.
const ROUNDS: usize = 6;

/// The consumer goes on saying that it is there and has nothing, while its copy of the stream gets nothing from the leader. Whoever reads
/// FENCE by it would lose its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tail_waits_for_a_copy_that_lost_its_leader() {
    let (cluster, _log) = a_replicated_log().await;
    for stream in STREAMS {
        let mut goes_on = false;
        for _ in 0..ROUNDS {
            goes_on = goes_on || is_read_before_an_election(&cluster, stream).await;
        }
        assert!(goes_on, "{stream}");
    }
}

async fn is_read_before_an_election(cluster: &NatsCluster, stream: &str) -> bool {
    cluster.wait_for_copies(stream).await.unwrap();
    let leader = cluster.leader_of(stream).await.unwrap();
    let (lost, between) = ((leader + 1) % NODES, (leader + 2) % NODES);
    // Connected to the server that reaches both of the others.
    let mut config = config(cluster);
    config.servers = vec![cluster.urls().swap_remove(between).into()];
    let log = connect(&config).await.unwrap();
    let (mut tail, next) = a_tail_at(&log, stream, lost).await;
    cluster.part(leader, lost);
    let stored = write(&log, stream).await;
    let read = tokio::time::timeout(ELECTION, tail.next_batch(1)).await;
    cluster.rejoin(leader, lost);
    let read = read.ok().and_then(Result::ok);
    stored == Some(next) && read.is_some_and(|records| records[0].seq == next)
}

/// A tail that has read all that is there, by a consumer at the given node; and the sequence that comes next.
async fn a_tail_at(log: &JetStreamLog, stream: &str, node: usize) -> (Box<dyn Tail>, StreamSeq) {
    let mut found = None;
    eventually(SOON * 2, async || {
        let before = consumers(log, stream).await;
        let Some(last) = write(log, stream).await else {
            return false;
        };
        let mut tail = tail_of(log, stream, last);
        let Ok(Ok(_)) = tokio::time::timeout(ELECTION, tail.next_batch(1)).await else {
            return false;
        };
        let is_there = consumers(log, stream)
            .await
            .into_iter()
            .filter(|consumer| !before.contains(consumer))
            .all(|(_, place)| place == format!("n{}", node + 1));
        found = is_there.then_some((tail, last.next()));
        is_there
    })
    .await
    .unwrap();
    found.unwrap()
}

/// The consumers of a stream, and the node where each of them lies.
async fn consumers(log: &JetStreamLog, stream: &str) -> Vec<(String, String)> {
    let subject = format!("$JS.API.CONSUMER.LIST.{stream}");
    let answer = log.client().request(subject, "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = answer["consumers"].as_array().cloned().unwrap_or_default();
    let place = |consumer: &Value| {
        (
            text(&consumer["name"]),
            text(&consumer["cluster"]["leader"]),
        )
    };
    listed.iter().map(place).collect()
}

fn tail_of(log: &JetStreamLog, stream: &str, from: StreamSeq) -> Box<dyn Tail> {
    match stream {
        "FENCE" => log.records(from),
        "CONTROL" => log.tail(Stream::Control, vec![], from),
        _ => log.tail(Stream::Tasks, vec![], from),
    }
}

/// Stores something in a stream.
async fn write(log: &JetStreamLog, stream: &str) -> Option<StreamSeq> {
    let append = match stream {
        "FENCE" => {
            let mark = FenceRecord::Mark(MarkRecord {
                gateway: GatewayId::new(1),
                control: StreamSeq(1),
            });
            return log.publish(mark, WITHIN).await.ok();
        }
        "CONTROL" => an_append(vec![a_record("control.t.key.k", "x")]).to(Stream::Control),
        _ => an_append(vec![a_record(EVENT, "x")]),
    };
    let appended = log.append(append).await.ok()?;
    appended.seqs.first().copied()
}
