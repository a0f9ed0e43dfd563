//! What readers saw of a replicated stream while its leader was killed again and again, compared with what is stored afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq};
use waybill_testkit::eventually;

use crate::cluster::a_replicated_log;
use crate::fixture::{EVENT, SOON, a_record, all, an_append};

/// Leaders that are killed.
const KILLS: usize = 3;
const WRITERS: usize = 8;
/// How long writers go on before each kill.
const LOAD: Duration = Duration::from_millis(500);

type Read = Arc<Mutex<BTreeMap<StreamSeq, Bytes>>>;

fn note(read: &Read, records: Vec<waybill_log::Record>) {
    let mut read = read.lock().unwrap();
    for record in records {
        let before = read.insert(record.seq, record.payload.clone());
        assert!(before.is_none_or(|before| before == record.payload));
    }
}

async fn follow(log: JetStreamLog, read: Read, stop: Arc<AtomicBool>) {
    let mut tail = log.tail(Stream::Tasks, Vec::new(), StreamSeq(1));
    while !stop.load(Ordering::Relaxed) {
        let batch = tokio::time::timeout(LOAD, tail.next_batch(100)).await;
        if let Ok(Ok(records)) = batch {
            note(&read, records);
        }
    }
}

/// Reads the newest by direct gets, which any copy answers.
async fn look(log: JetStreamLog, read: Read, stop: Arc<AtomicBool>) {
    let mut from = StreamSeq(1);
    while !stop.load(Ordering::Relaxed) {
        let page = log.range(Stream::Tasks, &[], from, StreamSeq(u64::MAX), 100);
        if let Ok(records) = page.await {
            from = records.last().map_or(from, |last| last.seq.next());
            note(&read, records);
        }
    }
}

/// Everything that was read once, by a consumer or by a direct get of any copy, was committed: it is there when the leader is another one.
/// What lags for a moment is the new leader's word for where the stream ends.
#[ignore = "three elections of up to nine seconds each"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_outlives_the_leader_that_showed_it() {
    let (mut cluster, log) = a_replicated_log().await;
    let stop = Arc::new(AtomicBool::new(false));
    let read = Read::default();
    let mut busy = JoinSet::new();
    busy.spawn(follow(log.clone(), Arc::clone(&read), Arc::clone(&stop)));
    busy.spawn(look(log.clone(), Arc::clone(&read), Arc::clone(&stop)));
    for writer in 0..WRITERS {
        let (log, stop) = (log.clone(), Arc::clone(&stop));
        busy.spawn(async move {
            for number in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let payload = format!("{writer}.{number}");
                let _ = log.append(an_append(vec![a_record(EVENT, &payload)])).await;
            }
        });
    }
    for kill in 0..KILLS {
        // Not a wait for anything: the load before the kill.
        tokio::time::sleep(LOAD).await;
        let leader = cluster.leader_of("TASKS").await.unwrap();
        cluster.nodes[leader].kill9();
        let killed = Instant::now();
        let newest = |read: &Read| read.lock().unwrap().keys().next_back().copied();
        let (mut short, mut answered) = (0, None);
        eventually(SOON * 2, async || {
            let known = newest(&read);
            let Ok(bounds) = log.bounds(Stream::Tasks).await else {
                return false;
            };
            answered = answered.or_else(|| Some(killed.elapsed()));
            let is_behind = Some(bounds.last) < known;
            short += u32::from(is_behind);
            !is_behind
        })
        .await
        .unwrap();
        eprintln!(
            "kill {kill}: first answer after {answered:?}, {short} answers behind what was read, whole after {:?}",
            killed.elapsed()
        );
        cluster.nodes[leader].restart().await.unwrap();
        cluster.wait_for_copies("TASKS").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    busy.join_all().await;
    let stored = all(&log, Stream::Tasks).await;
    let read = read.lock().unwrap();
    assert!(read.len() > WRITERS);
    for (seq, payload) in read.iter() {
        let at = usize::try_from(seq.0 - 1).unwrap();
        assert_eq!((stored[at].seq, &stored[at].payload), (*seq, payload));
    }
}
