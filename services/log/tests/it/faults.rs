//! A server that is killed, paused or cut off under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use waybill_log::jetstream::Reads;
use waybill_log::{
    AppendError, Expectation, JetStreamLog, Log, Record, Stream, StreamSeq, Tail, connect,
};
use waybill_testkit::{NatsServer, Proxy, eventually};

use crate::fixture::{
    EVENT, SOON, Shape, a_jetstream_log, a_log_read, a_record, all, an_append, append_one,
    config_at, config_read, read_both_ways, read_until,
};

/// Clients that append as fast as they are answered, and remember what they were told.
struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: JoinSet<Told>,
}

/// How many records each append of a client has.
fn records_of(client: usize) -> usize {
    match client % 8 {
        0 => 3,
        4 => 200,
        _ => 1,
    }
}

/// What one client was told: the sequence of each payload that was acknowledged, and the payloads that certainly are not there.
#[derive(Default)]
struct Told {
    stored: BTreeMap<String, StreamSeq>,
    not_stored: Vec<String>,
    unknown: Vec<String>,
}

impl Writers {
    fn start(log: &JetStreamLog, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut set = JoinSet::new();
        for client in 0..clients {
            let (log, stop) = (log.clone(), Arc::clone(&stop));
            let acknowledged = Arc::clone(&acknowledged);
            set.spawn(async move {
                let mut told = Told::default();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    // Every kind of append: singles, several together, and with an id of the client.
                    let count = records_of(client);
                    let names: Vec<String> = (0..count)
                        .map(|i| format!("{client}.{number}.{i}"))
                        .collect();
                    let records = names.iter().map(|name| a_record(EVENT, name)).collect();
                    let mut append = an_append(records).atomic();
                    if client % 4 == 1 {
                        append = append.identified_by(&format!("id-{client}-{number}"));
                    }
                    match log.append(append).await {
                        Ok(appended) => {
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                            told.stored.extend(names.into_iter().zip(appended.seqs));
                        }
                        Err(AppendError::Unknown { .. }) => told.unknown.extend(names),
                        Err(AppendError::Unavailable { .. }) => told.not_stored.extend(names),
                        Err(error) => panic!("{error}"),
                    }
                }
                told
            });
        }
        Self {
            stop,
            acknowledged,
            clients: set,
        }
    }

    async fn acknowledge_more(&self, count: u64) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually(SOON * 2, async || {
            self.acknowledged.load(Ordering::Relaxed) >= before + count
        })
        .await
        .unwrap();
    }

    async fn finish(mut self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Told::default();
        while let Some(told) = self.clients.join_next().await {
            let told = told.unwrap();
            all.stored.extend(told.stored);
            all.not_stored.extend(told.not_stored);
            all.unknown.extend(told.unknown);
        }
        all
    }
}

/// What was acknowledged is there, once, where it was said to be; what was said not to be there is not.
fn check(told: &Told, stored: &[Record]) {
    let mut found: BTreeMap<String, StreamSeq> = BTreeMap::new();
    for record in stored {
        let name = String::from_utf8_lossy(&record.payload).into_owned();
        let twice = found.insert(name.clone(), record.seq);
        assert_eq!(twice, None, "{name} is stored twice");
    }
    for (name, seq) in &told.stored {
        assert_eq!(found.get(name), Some(seq), "{name} was acknowledged");
    }
    for name in &told.not_stored {
        assert_eq!(found.get(name), None, "{name} was said not to be stored");
    }
    for name in &told.unknown {
        let Some(batch) = name.strip_suffix(".0") else {
            continue;
        };
        let whole = records_of(batch.split('.').next().unwrap().parse().unwrap());
        let parts = (0..whole)
            .filter(|i| found.contains_key(&format!("{batch}.{i}")))
            .count();
        assert!(
            parts == 0 || parts == whole,
            "{parts} of {whole} of {batch} are stored"
        );
    }
}

fn is_gapless(records: &[Record]) -> bool {
    records
        .iter()
        .enumerate()
        .all(|(index, record)| record.seq.0 == index as u64 + 1)
}

read_both_ways!(
    a_server_killed_under_load_loses_nothing_acknowledged,
    a_paused_server_fails_appends_by_their_deadline_and_the_tail_resumes,
    a_network_that_comes_and_goes_loses_and_repeats_nothing,
    a_slow_reader_holds_little_and_loses_nothing,
    a_tail_of_a_stream_made_anew_is_an_error_and_not_silence,
);

async fn a_server_killed_under_load_loses_nothing_acknowledged(reads: Reads) {
    let (mut server, log) = a_log_read(reads).await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let writers = Writers::start(&log, 60);
    for _ in 0..3 {
        writers.acknowledge_more(300).await;
        server.kill9();
        server.restart().await.unwrap();
    }
    writers.acknowledge_more(300).await;
    let told = writers.finish().await;
    let stored = all(&log, Stream::Tasks).await;
    check(&told, &stored);
    let seen = read_until(&mut *tail, stored.len()).await;
    assert!(is_gapless(&seen));
    assert_eq!(seen, stored);
}

async fn a_paused_server_fails_appends_by_their_deadline_and_the_tail_resumes(reads: Reads) {
    let (mut server, log) = a_log_read(reads).await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let first = append_one(&log, EVENT, "before").await;
    assert_eq!(read_until(&mut *tail, 1).await[0].seq, first);
    let owned = append_one(&log, "tasks.1.owner", "owned").await;
    let writers = Writers::start(&log, 8);
    writers.acknowledge_more(20).await;
    server.pause().unwrap();
    let start = Instant::now();
    let fenced = an_append(vec![a_record(EVENT, "paused")]).fenced_by("tasks.1.owner", owned);
    let appended = log.append(fenced).await;
    let took = start.elapsed();
    assert!(
        matches!(
            appended,
            Err(AppendError::Unknown { .. } | AppendError::Unavailable { .. })
        ),
        "{appended:?}"
    );
    let deadline = Duration::from_millis(config_at("").request_timeout_ms);
    assert!(took < deadline + Duration::from_secs(1), "{took:?}");
    // Long enough for the connection to be given up as dead, too.
    let lost = eventually(SOON, async || !log.is_connected()).await;
    server.resume().unwrap();
    lost.unwrap();
    writers.acknowledge_more(20).await;
    let told = writers.finish().await;
    let stored = all(&log, Stream::Tasks).await;
    check(&told, &stored);
    let seen = read_until(&mut *tail, stored.len() - 1).await;
    assert_eq!(seen, stored[1..]);
}

async fn a_network_that_comes_and_goes_loses_and_repeats_nothing(reads: Reads) {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let log = connect(&config_read(&proxy.url(), reads)).await.unwrap();
    let witness = connect(&config_at(&server.url())).await.unwrap();
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let writers = Writers::start(&log, 60);
    for round in 0..6 {
        writers.acknowledge_more(100).await;
        match round % 3 {
            0 => proxy.stall(),
            1 => proxy.deafen(),
            _ => {}
        }
        proxy.cut();
        proxy.heal();
    }
    writers.acknowledge_more(100).await;
    let told = writers.finish().await;
    let stored = all(&witness, Stream::Tasks).await;
    check(&told, &stored);
    let seen = read_until(&mut *tail, stored.len()).await;
    assert_eq!(seen, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_whose_consumer_is_deleted_goes_on() {
    let (_server, log) = a_jetstream_log().await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let context = async_nats::jetstream::new(log.client());
    for n in 1..=3 {
        append_one(&log, EVENT, &n.to_string()).await;
        assert_eq!(read_until(&mut *tail, 1).await[0].seq, StreamSeq(n));
        let stream = context.get_stream("TASKS").await.unwrap();
        let names: Vec<_> = futures::TryStreamExt::try_collect(stream.consumer_names())
            .await
            .unwrap();
        let names: Vec<String> = names;
        assert!(!names.is_empty());
        for name in names {
            stream.delete_consumer(&name).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_refuses_and_a_message_too_large_harms_no_other() {
    let server = NatsServer::start().await.unwrap();
    let mut config = config_at(&server.url());
    config.streams.tasks_max_bytes = Some(200_000);
    let log = connect(&config).await.unwrap();
    let too_large = an_append(vec![a_record(EVENT, &"x".repeat(3_000_000))]);
    let small = || an_append(vec![a_record(EVENT, "small")]);
    let (large, small_one) = tokio::join!(log.append(too_large), log.append(small()));
    assert!(
        matches!(large, Err(AppendError::Rejected { .. })),
        "{large:?}"
    );
    small_one.unwrap();
    let payload = "x".repeat(10_000);
    let mut refused = None;
    for _ in 0..40 {
        let append = an_append(vec![a_record(EVENT, &payload)]);
        if let Err(error) = log.append(append).await {
            refused = Some(error);
            break;
        }
    }
    assert!(
        matches!(refused, Some(AppendError::Full { .. })),
        "{refused:?}"
    );
    // Owners have no more room than anybody else, which is why creations must stop before (`waybill_log::room`).
    let mut of_owner = an_append(vec![a_record(EVENT, &payload)]);
    of_owner.expect = Expectation::LastOn {
        filter: "tasks.0.owner".to_owned(),
        seq: StreamSeq(0),
    };
    let of_owner = log.append(of_owner).await;
    assert!(
        matches!(of_owner, Err(AppendError::Full { .. })),
        "{of_owner:?}"
    );
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!(
        bounds.first,
        StreamSeq(1),
        "nothing was dropped to make room"
    );
    assert_eq!(bounds.max_bytes, Some(200_000));
    assert!((180_000..=200_000).contains(&bounds.bytes), "{bounds:?}");
    let control = log.bounds(Stream::Control).await.unwrap();
    assert_eq!((control.bytes, control.max_bytes), (0, None));
}

async fn a_slow_reader_holds_little_and_loses_nothing(reads: Reads) {
    let (_server, log) = a_log_read(reads).await;
    let payload = "x".repeat(2_000);
    let mut tail: Box<dyn Tail> = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    append_one(&log, EVENT, &payload).await;
    let mut seen = read_until(&mut *tail, 1).await;
    for _ in 0..20 {
        let records = (0..1000).map(|_| a_record(EVENT, &payload)).collect();
        log.append(an_append(records)).await.unwrap();
    }
    seen.extend(read_until(&mut *tail, 20_000).await);
    assert!(is_gapless(&seen));
}

async fn a_tail_of_a_stream_made_anew_is_an_error_and_not_silence(reads: Reads) {
    let (_server, log) = a_log_read(reads).await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    for n in 0..3 {
        append_one(&log, EVENT, &n.to_string()).await;
    }
    read_until(&mut *tail, 3).await;
    let context = async_nats::jetstream::new(log.client());
    let stream = context.get_stream("TASKS").await.unwrap();
    let config = stream.cached_info().config.clone();
    context.delete_stream("TASKS").await.unwrap();
    context.create_stream(config).await.unwrap();
    append_one(&log, EVENT, "another log").await;
    // The first may be from the moment when there was no stream.
    let mut told = Vec::new();
    for _ in 0..5 {
        let next = tokio::time::timeout(SOON, tail.next_batch(10)).await;
        told.push(next.unwrap().unwrap_err().to_string());
    }
    let last = &told[told.len() - 2..];
    assert!(
        last.iter().all(|error| error.contains("another stream")),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_while_the_log_is_away_is_refused_by_its_deadline() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let mut config = config_at(&proxy.url());
    config.request_timeout_ms = 1_000;
    let log = connect(&config).await.unwrap();
    proxy.cut();
    let append = an_append(vec![a_record(EVENT, &"x".repeat(1_000_000))]);
    let start = Instant::now();
    // More than the 64 MiB that the queue holds: some wait in it, the others before it.
    let appends = (0..100).map(|_| log.append(append.clone()));
    for appended in futures::future::join_all(appends).await {
        assert!(
            matches!(
                appended,
                Err(AppendError::Unavailable { .. } | AppendError::Unknown { .. })
            ),
            "{appended:?}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    proxy.heal();
    eventually(SOON, async || {
        log.append(an_append(vec![a_record(EVENT, "small")]))
            .await
            .is_ok()
    })
    .await
    .unwrap();
}
