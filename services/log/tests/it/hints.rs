//! Tails by direct gets: hints that are lost or wrong, copies that lag, and servers that go.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use serde_json::{Value, json};
use waybill_log::jetstream::Reads;
use waybill_log::{JetStreamLog, Log, NatsConfig, Record, Stream, StreamSeq, Tail, connect};
use waybill_testkit::{NatsCluster, eventually};

use crate::cluster::{a_replicated_log, config};
use crate::fixture::{EVENT, SOON, a_log_read, a_record, an_append, append_one, read_until};

/// Without hints, a tail looks once a second.
const A_LOOK: Duration = Duration::from_secs(1);

async fn api(log: &JetStreamLog, verb: &str, body: &Value) -> Value {
    let subject = format!("$JS.API.{verb}");
    let client = log.client();
    let answer = client.request(subject, body.to_string().into()).await;
    serde_json::from_slice(&answer.unwrap().payload).unwrap()
}

/// Changes whether the server gives hints of TASKS.
async fn set_hints(log: &JetStreamLog, hints: Value) {
    let info = api(log, "STREAM.INFO.TASKS", &json!({})).await;
    let mut config = info["config"].clone();
    config["republish"] = hints;
    let changed = api(log, "STREAM.UPDATE.TASKS", &config).await;
    assert!(changed["error"].is_null(), "{changed}");
}

/// Says that TASKS has a message that it does not have.
async fn hint_at(log: &JetStreamLog, seq: u64) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Sequence", seq.to_string());
    let client = log.client();
    let subject = format!("live.{EVENT}");
    client
        .publish_with_headers(subject, headers, "".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
}

/// Appends records one after the other, each of which the tail must return next, and answers with how long each took.
async fn each_is_seen(log: &JetStreamLog, tail: &mut dyn Tail, count: usize) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..count {
        let seq = append_one(log, EVENT, "x").await;
        let appended = Instant::now();
        assert_eq!(seqs(&read_until(tail, 1).await), [seq]);
        took.push(appended.elapsed());
    }
    took.sort_unstable();
    took
}

fn seqs(records: &[Record]) -> Vec<StreamSeq> {
    records.iter().map(|record| record.seq).collect()
}

fn tails(log: &JetStreamLog) -> [Box<dyn Tail>; 3] {
    // All, one filter, and several.
    let filters = [vec![], vec!["tasks.1.>"], vec!["tasks.1.>", "tasks.7.>"]];
    filters.map(|filters| {
        let filters = filters.into_iter().map(str::to_owned).collect();
        log.tail(Stream::Tasks, filters, StreamSeq(1))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_hint_costs_a_look_and_no_record() {
    let (_server, log) = a_log_read(Reads::Direct).await;
    for mut tail in tails(&log) {
        let before = log.bounds(Stream::Tasks).await.unwrap().last;
        let stored = usize::try_from(before.0).unwrap();
        if stored > 0 {
            read_until(&mut *tail, stored).await;
        }
        let hinted = each_is_seen(&log, &mut *tail, 9).await;
        assert!(hinted[4] < A_LOOK / 4, "{hinted:?}");
        set_hints(&log, Value::Null).await;
        let unhinted = each_is_seen(&log, &mut *tail, 3).await;
        assert!(unhinted[2] > A_LOOK / 4, "there are hints: {unhinted:?}");
        assert!(unhinted[2] < A_LOOK * 5, "{unhinted:?}");
        let hints = json!({ "src": "tasks.>", "dest": "live.tasks.>", "headers_only": true });
        set_hints(&log, hints).await;
    }
    // Nothing of it is a consumer.
    let consumers = api(&log, "CONSUMER.NAMES.TASKS", &json!({})).await;
    assert_eq!(consumers["total"], 0, "{consumers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_hint_harms_nothing() {
    let (_server, log) = a_log_read(Reads::Direct).await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    for wrong in [1_000_000, 0, u64::MAX] {
        each_is_seen(&log, &mut *tail, 1).await;
        hint_at(&log, wrong).await;
        let took = each_is_seen(&log, &mut *tail, 9).await;
        assert!(took[4] < A_LOOK / 4, "{wrong}: {took:?}");
    }
}

/// One cluster for all of it: starting one is what takes time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_lag_or_go_neither_hold_up_nor_end_a_tail() {
    let (mut cluster, log) = a_replicated_log().await;
    each_copy_is_read_at_once(&cluster, &log).await;
    a_tail_outlasts_a_parting(&cluster, &log).await;
    a_tail_outlives_the_leader(&mut cluster, &log).await;
}

fn at(cluster: &NatsCluster, node: usize) -> NatsConfig {
    NatsConfig {
        servers: vec![cluster.urls().swap_remove(node).into()],
        reads: Reads::Direct,
        ..config(cluster)
    }
}

/// A server prefers its own copy, which may get a message after the hint of it.
async fn each_copy_is_read_at_once(cluster: &NatsCluster, log: &JetStreamLog) {
    for node in 0..cluster.nodes.len() {
        cluster.wait_for_copies("TASKS").await.unwrap();
        let reader = connect(&at(cluster, node)).await.unwrap();
        let next = log.bounds(Stream::Tasks).await.unwrap().last.next();
        let mut tail = reader.tail(Stream::Tasks, vec!["tasks.1.>".to_owned()], next);
        each_is_seen(log, &mut *tail, 1).await;
        let took = each_is_seen(log, &mut *tail, 60).await;
        assert!(took[30] < A_LOOK / 4, "{node}: {took:?}");
        hint_at(log, 1_000_000).await;
        let took = each_is_seen(log, &mut *tail, 9).await;
        assert!(took[4] < A_LOOK / 4, "{node}: {took:?}");
    }
}

/// Its server's copy gets nothing any more, and hints do not arrive either, until there is another leader.
async fn a_tail_outlasts_a_parting(cluster: &NatsCluster, log: &JetStreamLog) {
    cluster.wait_for_copies("TASKS").await.unwrap();
    let leader = cluster.leader_of("TASKS").await.unwrap();
    let parted = (leader + 1) % cluster.nodes.len();
    let reader = connect(&at(cluster, parted)).await.unwrap();
    let next = log.bounds(Stream::Tasks).await.unwrap().last.next();
    let mut tail = reader.tail(Stream::Tasks, vec![], next);
    each_is_seen(log, &mut *tail, 3).await;
    cluster.part(leader, parted);
    let mut stored = None;
    eventually(SOON * 2, async || {
        let append = an_append(vec![a_record(EVENT, "parted")]);
        stored = log.append(append).await.ok().map(|stored| stored.seqs[0]);
        stored.is_some()
    })
    .await
    .unwrap();
    // An append whose outcome was unknown may be there besides.
    let mut read = StreamSeq(0);
    while Some(read) < stored {
        read = read_until(&mut *tail, 1).await.last().unwrap().seq;
    }
    cluster.rejoin(leader, parted);
}

async fn a_tail_outlives_the_leader(cluster: &mut NatsCluster, log: &JetStreamLog) {
    cluster.wait_for_copies("TASKS").await.unwrap();
    let mut config = config(cluster);
    config.reads = Reads::Direct;
    let reader = connect(&config).await.unwrap();
    let next = log.bounds(Stream::Tasks).await.unwrap().last.next();
    let mut tail = reader.tail(Stream::Tasks, vec![], next);
    each_is_seen(log, &mut *tail, 3).await;
    let leader = cluster.leader_of("TASKS").await.unwrap();
    cluster.nodes[leader].kill9();
    let mut stored = None;
    eventually(SOON * 2, async || {
        let append = an_append(vec![a_record(EVENT, "after")]);
        stored = log.append(append).await.ok().map(|stored| stored.seqs[0]);
        stored.is_some()
    })
    .await
    .unwrap();
    let mut read = StreamSeq(0);
    while Some(read) < stored {
        read = read_until(&mut *tail, 1).await.last().unwrap().seq;
    }
}
