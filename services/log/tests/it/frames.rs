//! What a log does with frames: every test of the first part runs over both implementations, after the switch.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use waybill_domain::event::{PartitionOwned, TaskEvent, samples};
use waybill_domain::time::Timestamp;
use waybill_log::frame::{MAX_CREATION_BYTES, MAX_EVENTS};
use waybill_log::jetstream::Reads;
use waybill_log::{
    AppendError, Log, NewRecord, ReadError, Reason, Record, Stream, StreamSeq, connect,
    connect_alone, first_at, task_record,
};
use waybill_testkit::NatsServer;

use crate::conformance::{
    a_clients_duplicate_does_not_harm_its_neighbours, a_clients_id_covers_all_records_of_an_append,
    a_clients_id_is_stored_once, a_dropped_wait_of_a_tail_loses_nothing,
    a_fence_may_watch_another_subject_than_the_one_written, a_stale_owner_cannot_append,
    an_ordered_append_keeps_its_order, only_the_guilty_fence_of_a_gathering_fails,
    the_last_record_of_a_filter, the_streams_are_apart, what_no_log_can_store_is_refused,
};
use crate::fixture::{
    EVENT, Full, SOON, Shape, a_jetstream_log_of_frames, a_memory_log, a_memory_log_of_frames,
    a_record, all, an_append, append_one, config_at, payloads, read_until,
};

const OWNER: &str = "tasks.1.owner";

macro_rules! over_frames {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::a_memory_log_of_frames()).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_server, log) = super::a_jetstream_log_of_frames(super::Reads::Consumers).await;
                super::$name(log).await;
            })*
        }
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_server, log) = super::a_jetstream_log_of_frames(super::Reads::Direct).await;
                super::$name(log).await;
            })*
        }
    };
}

over_frames!(
    an_ordered_append_keeps_its_order,
    what_no_log_can_store_is_refused,
    a_fence_may_watch_another_subject_than_the_one_written,
    a_stale_owner_cannot_append,
    only_the_guilty_fence_of_a_gathering_fails,
    a_clients_id_is_stored_once,
    a_clients_id_covers_all_records_of_an_append,
    a_clients_duplicate_does_not_harm_its_neighbours,
    a_dropped_wait_of_a_tail_loses_nothing,
    the_last_record_of_a_filter,
    the_streams_are_apart,
    one_append_is_one_message,
    readers_may_begin_inside_a_frame,
    a_tail_hands_out_whole_frames,
    readers_get_what_their_filters_match,
    a_purge_takes_no_part_of_a_frame,
    an_append_over_partitions_is_stored_whole_or_not_at_all,
    events_of_a_frame_are_found_by_time,
    records_say_what_they_follow,
);

fn named(subject: &str, count: usize) -> Vec<NewRecord> {
    (0..count)
        .map(|n| a_record(subject, &n.to_string()))
        .collect()
}

fn seqs(records: &[Record]) -> Vec<StreamSeq> {
    records.iter().map(|record| record.seq).collect()
}

async fn one_append_is_one_message(log: impl Full) {
    let first = log
        .append(an_append(named(EVENT, MAX_EVENTS - 24)))
        .await
        .unwrap();
    let second = append_one(&log, EVENT, "alone").await;
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!(bounds.messages, 2);
    assert_eq!(bounds.last, second);
    let mut told = first.seqs;
    told.push(second);
    assert_eq!(seqs(&all(&log, Stream::Tasks).await), told);
    for at in [0, 1, 500, 999] {
        let record = log.read(Stream::Tasks, told[at]).await.unwrap().unwrap();
        assert_eq!(record.payload, at.to_string());
        assert_eq!(record.subject, EVENT);
        assert_eq!(record.seq, told[at]);
    }
    // Nothing stands before the first event of a frame.
    let before = StreamSeq(told[0].0 - 1);
    assert_eq!(log.read(Stream::Tasks, before).await.unwrap(), None);
}

async fn readers_may_begin_inside_a_frame(log: impl Full) {
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(log.append(an_append(named(EVENT, 10))).await.unwrap().seqs);
    }
    for at in [0, 3, 9, 10, 29] {
        let range = log
            .range(Stream::Tasks, &[], told[at], told[29], 999)
            .await
            .unwrap();
        assert_eq!(seqs(&range), told[at..]);
        let mut tail = log.tail(Stream::Tasks, vec![], told[at]);
        assert_eq!(seqs(&read_until(&mut *tail, 30 - at).await), told[at..]);
        // Right behind an event as well.
        let mut tail = log.tail(Stream::Tasks, vec![], told[at].next());
        assert_eq!(seqs(&read_until(&mut *tail, 29 - at).await), told[at + 1..]);
    }
    let part = log
        .range(Stream::Tasks, &[], told[8], told[12], 999)
        .await
        .unwrap();
    assert_eq!(seqs(&part), told[8..=12]);
    let limited = log
        .range(Stream::Tasks, &[], told[8], told[29], 4)
        .await
        .unwrap();
    assert_eq!(seqs(&limited), told[8..12]);
}

async fn a_tail_hands_out_whole_frames(log: impl Full) {
    for _ in 0..5 {
        log.append(an_append(named(EVENT, 20))).await.unwrap();
    }
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(0));
    let mut read = Vec::new();
    while read.len() < 100 {
        let batch = tail.next_batch(7).await.unwrap();
        assert_eq!(batch.len() % 20, 0, "a checkpoint would stand in a frame");
        read.extend(batch);
    }
    assert_eq!(read, all(&log, Stream::Tasks).await);
}

async fn readers_get_what_their_filters_match(log: impl Full) {
    let subjects: Vec<String> = (0..240)
        .map(|n| {
            let (partition, team, queue) = (n % 2, n / 2 % 3, n / 6 % 4);
            let event = ["created", "started", "succeeded"][n % 3];
            format!("tasks.{partition}.t{team}.q{queue}.{event}")
        })
        .collect();
    for subjects in subjects.chunks(40) {
        let records = subjects.iter().map(|subject| a_record(subject, subject));
        log.append(an_append(records.collect())).await.unwrap();
    }
    append_one(&log, OWNER, OWNER).await;
    let all = all(&log, Stream::Tasks).await;
    assert_eq!(all.len(), 241);
    for filters in [
        &["tasks.1.>"][..],
        &["tasks.*.t1.>"],
        &["tasks.*.t1.q2.>"],
        &["tasks.*.*.*.created"],
        &["tasks.0.*.*.created"],
        &["tasks.*.t2.*.started"],
        &["tasks.*.t2.q1.succeeded", "tasks.*.t0.q1.started"],
        &["tasks.*.t0.>", "tasks.*.t1.q1.>"],
        &["tasks.1.owner"],
        &["tasks.*.nobody.>"],
    ] {
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        let wanted: Vec<StreamSeq> = all
            .iter()
            .filter(|record| {
                let matches =
                    |filter: &String| waybill_log::subject::matches(filter, &record.subject);
                filters.iter().any(matches)
            })
            .map(|record| record.seq)
            .collect();
        for limit in [1000, 7] {
            let read = log
                .range(
                    Stream::Tasks,
                    &filters,
                    StreamSeq(1),
                    StreamSeq(u64::MAX),
                    limit,
                )
                .await
                .unwrap();
            let wanted = &wanted[..limit.min(wanted.len())];
            assert_eq!(seqs(&read), wanted, "{filters:?}, {limit} of it");
        }
        // The server refuses filters that overlap, so those of frames must not.
        if filters.len() == 1 && !wanted.is_empty() {
            let mut tail = log.tail(Stream::Tasks, filters.clone(), StreamSeq(1));
            let read = read_until(&mut *tail, wanted.len()).await;
            assert_eq!(seqs(&read), wanted, "{filters:?}");
        }
    }
}

async fn a_purge_takes_no_part_of_a_frame(log: impl Full) {
    let mut frames = Vec::new();
    for _ in 0..4 {
        frames.push(log.append(an_append(named(EVENT, 10))).await.unwrap().seqs);
    }
    let middle = frames[2][5];
    assert_eq!(log.purge_tasks(middle).await, Ok(2));
    assert_eq!(log.purge_tasks(middle).await, Ok(0));
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!(bounds.messages, 2);
    let left = [&frames[2][..], &frames[3]].concat();
    assert_eq!(seqs(&all_left(&log).await), left);
    // From inside the first frame that is left, and from its beginning, nothing is missing.
    for from in [
        frames[2][3],
        frames[2][0],
        frames[1][9].next(),
        bounds.first,
    ] {
        let read = log.range(Stream::Tasks, &[], from, bounds.last, 999).await;
        assert_eq!(seqs(&read.unwrap()).last(), left.last());
    }
    for from in [frames[1][9], frames[0][0], StreamSeq(1)] {
        let read = log.range(Stream::Tasks, &[], from, bounds.last, 999).await;
        let Err(ReadError::Gap { first, .. }) = read else {
            panic!("from {from}: {read:?}");
        };
        assert_eq!(first, bounds.first);
        let mut tail = log.tail(Stream::Tasks, vec![], from);
        let said = tail.next_batch(9).await;
        assert!(matches!(said, Err(ReadError::Gap { first, .. }) if first == bounds.first));
        assert_eq!(seqs(&read_until(&mut *tail, 20).await), left);
    }
}

async fn all_left(log: &impl Log) -> Vec<Record> {
    log.range(Stream::Tasks, &[], StreamSeq(0), StreamSeq(u64::MAX), 9999)
        .await
        .unwrap()
}

async fn an_append_over_partitions_is_stored_whole_or_not_at_all(log: impl Full) {
    let subjects = |n: usize| format!("tasks.{}.t.q.created", n % 3);
    let large = "x".repeat(MAX_CREATION_BYTES / 10);
    let records = |count: usize| -> Vec<NewRecord> {
        (0..count)
            .map(|n| a_record(&subjects(n), &format!("{n} {large}")))
            .collect()
    };
    let appended = log.append(an_append(records(60)).atomic()).await.unwrap();
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert!((6..60).contains(&bounds.messages), "{}", bounds.messages);
    for (n, &seq) in appended.seqs.iter().enumerate() {
        let record = log.read(Stream::Tasks, seq).await.unwrap().unwrap();
        assert_eq!(record.subject, subjects(n));
        assert!(record.payload.starts_with(format!("{n} ").as_bytes()));
    }
    // The order within a partition is the order of the append.
    for partition in 0..3 {
        let of_partition = appended.seqs.iter().skip(partition).step_by(3);
        assert!(of_partition.is_sorted());
    }
    let owned = append_one(&log, OWNER, "owned").await;
    append_one(&log, OWNER, "stolen").await;
    let before = log.bounds(Stream::Tasks).await.unwrap().last;
    let refused = log
        .append(an_append(records(60)).atomic().fenced_by(OWNER, owned))
        .await;
    assert!(
        matches!(refused, Err(AppendError::Conflict { expected, .. }) if expected == owned),
        "{refused:?}"
    );
    assert_eq!(log.bounds(Stream::Tasks).await.unwrap().last, before);
}

async fn events_of_a_frame_are_found_by_time(log: impl Full) {
    let mut frames = Vec::new();
    for _ in 0..5 {
        frames.push(log.append(an_append(named(EVENT, 7))).await.unwrap().seqs);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    log.purge_tasks(frames[1][0]).await.unwrap();
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    let third = log
        .read(Stream::Tasks, frames[2][0])
        .await
        .unwrap()
        .unwrap();
    for (time, wanted) in [
        (third.time, Some(frames[2][0])),
        (Timestamp(third.time.0 + 1), Some(frames[3][0])),
        (Timestamp(0), Some(frames[1][0])),
        (Timestamp(i64::MAX), None),
    ] {
        let found = first_at(&log, Stream::Tasks, bounds, time).await.unwrap();
        let from_there = log
            .range(Stream::Tasks, &[], found, bounds.last, 1)
            .await
            .unwrap();
        assert_eq!(seqs(&from_there).first().copied(), wanted, "{time:?}");
    }
}

async fn records_say_what_they_follow(log: impl Full) {
    append_one(&log, OWNER, "owned").await;
    for count in [1, 5, 900] {
        log.append(an_append(named(EVENT, count))).await.unwrap();
        append_one(&log, EVENT, "x").await;
        log.append(an_append(vec![a_record(EVENT, "k")]).identified_by(&format!("id {count}")))
            .await
            .unwrap();
    }
    let records = all(&log, Stream::Tasks).await;
    assert_eq!(records[0].follows, StreamSeq(0));
    for pair in records.windows(2) {
        assert_eq!(pair[1].follows, pair[0].seq);
    }
}

/// What stood in the log before the switch keeps its place, and is read together with what came after.
async fn across_the_switch<L: Full, M: Full>(before: L, switched: impl AsyncFnOnce(L) -> M) {
    let owned = append_one(&before, OWNER, "owned").await;
    let mut told = before
        .append(an_append(named(EVENT, 50)))
        .await
        .unwrap()
        .seqs;
    let key = an_append(vec![a_record(EVENT, "key")]).identified_by("a key");
    told.extend(before.append(key.clone()).await.unwrap().seqs);
    assert_eq!(told.last(), Some(&StreamSeq(52)));
    let incarnation = before.bounds(Stream::Tasks).await.unwrap().incarnation;
    let log = switched(before).await;
    assert_eq!(seqs(&all(&log, Stream::Tasks).await)[1..], told);
    let again = log.append(key).await.unwrap();
    assert_eq!((again.duplicate, again.seqs[0]), (true, StreamSeq(52)));
    // A fence from before holds.
    let fenced = an_append(named(EVENT, 20)).fenced_by(OWNER, owned);
    told.extend(log.append(fenced.clone()).await.unwrap().seqs);
    let newer = append_one(&log, OWNER, "newer").await;
    told.push(newer);
    let refused = log.append(fenced).await;
    assert!(matches!(refused, Err(AppendError::Conflict { expected, .. }) if expected == owned));
    let fenced = an_append(named(EVENT, 20)).fenced_by(OWNER, newer);
    told.extend(log.append(fenced).await.unwrap().seqs);
    assert!(told.is_sorted(), "{told:?}");
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!(bounds.incarnation, incarnation);
    assert_eq!(Some(&bounds.last), told.last());
    for from in [0, 10, 50, 51, 52, 60, told.len() - 1] {
        let range = log
            .range(Stream::Tasks, &[], told[from], bounds.last, 999)
            .await;
        assert_eq!(seqs(&range.unwrap()), told[from..]);
        let mut tail = log.tail(Stream::Tasks, vec![], told[from]);
        let read = read_until(&mut *tail, told.len() - from).await;
        assert_eq!(seqs(&read), told[from..]);
        assert!(read.windows(2).all(|pair| pair[1].follows == pair[0].seq));
    }
    // A checkpoint at the very end of what was before: nothing is missing behind it, also once that is gone.
    log.purge_tasks(told[51]).await.unwrap();
    for from in [StreamSeq(53), told[51]] {
        let range = log.range(Stream::Tasks, &[], from, bounds.last, 999).await;
        assert_eq!(seqs(&range.unwrap()), told[51..]);
        let mut tail = log.tail(Stream::Tasks, vec![], from);
        assert_eq!(tail.next_batch(1).await.unwrap()[0].seq, told[51]);
    }
}

#[tokio::test]
async fn the_switch_moves_nothing_in_memory() {
    across_the_switch(a_memory_log(), async |log| {
        log.core().switch_to_frames();
        log
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_moves_nothing_on_a_server() {
    let server = NatsServer::start().await.unwrap();
    let config = config_at(&server.url());
    let before = connect(&config).await.unwrap();
    across_the_switch(before, async |before| {
        let log = connect_alone(&config).await.unwrap();
        drop(before);
        log
    })
    .await;
    // It is done once.
    let first = async || {
        let log = connect_alone(&config).await.unwrap();
        let bounds = log.bounds(Stream::Tasks).await.unwrap();
        bounds.positions.first_frame()
    };
    assert_eq!((first().await, first().await), (Some(53), Some(53)));
}

/// A process that runs through a switch, which it must not, passes over no frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_know_of_the_switch_reads_no_further() {
    let server = NatsServer::start().await.unwrap();
    let unaware = connect(&config_at(&server.url())).await.unwrap();
    let known = append_one(&unaware, EVENT, "known").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Wb-Frame", "1");
    let client = unaware.client();
    client
        .publish_with_headers("tasks.1._._.steps", headers, "a stranger's".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    // Before the switch it is a record that nobody understands, and no more than that.
    let mut tail = unaware.tail(Stream::Tasks, vec![], known);
    assert_eq!(read_until(&mut *tail, 2).await[1].event, "frame.batch.v1");
    let log = connect_alone(&config_at(&server.url())).await.unwrap();
    log.append(an_append(named(EVENT, 3))).await.unwrap();
    for _ in 0..3 {
        let read = tail.next_batch(9).await;
        assert!(read.is_err(), "{read:?}");
    }
    let end = StreamSeq(u64::MAX);
    let range = unaware.range(Stream::Tasks, &[], known, end, 99).await;
    assert!(range.is_err(), "{range:?}");
    assert!(unaware.bounds(Stream::Tasks).await.is_err());
    let mut tail = log.tail(Stream::Tasks, vec![], known);
    assert_eq!(read_until(&mut *tail, 5).await[2].payload, "0");
}

/// Nothing lingers: what comes while a frame is in flight leaves with the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_frame_is_in_flight_shares_the_next_one() {
    let (_server, log) = a_jetstream_log_of_frames(Reads::Consumers).await;
    let log = Arc::new(log);
    let appends = (0..1_000).map(|n| {
        let log = Arc::clone(&log);
        async move {
            let subject = format!("tasks.{}.t.q.created", n % 2);
            append_one(&*log, &subject, &n.to_string()).await
        }
    });
    let told = join_all(appends).await;
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert!(bounds.messages < 200, "{} messages", bounds.messages);
    let stored = all(&*log, Stream::Tasks).await;
    assert_eq!(stored.len(), 1_000);
    for (n, seq) in told.into_iter().enumerate() {
        let record = stored.iter().find(|record| record.seq == seq).unwrap();
        assert_eq!(record.payload, n.to_string());
    }
}

/// A newer build's frame stops whoever cannot do without it, before the whole of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_an_unknown_version_is_left_to_a_newer_build() {
    let (_server, log) = a_jetstream_log_of_frames(Reads::Consumers).await;
    let last = append_one(&log, EVENT, "x").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Wb-Frame", "2");
    let client = log.client();
    client
        .publish_with_headers("tasks.1._._.steps", headers, "any".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    let mut tail = log.tail(Stream::Tasks, vec!["tasks.1.>".to_owned()], last.next());
    let read = read_until(&mut *tail, 1).await;
    let why = task_record(&read[0]).unwrap_err();
    assert_eq!(why.reason(), Reason::Newer);
    assert_eq!(read[0].follows, last);
}

/// Real events in real frames, as every reader reads them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_count_in_frames_as_they_count_alone() {
    let (_server, log) = a_jetstream_log_of_frames(Reads::Consumers).await;
    let events = samples::task_events();
    let records: Vec<NewRecord> = events
        .iter()
        .map(|event| {
            let (team, queue) = match event {
                TaskEvent::Created(e) => (e.team.to_string(), e.queue.to_string()),
                _ => ("t".to_owned(), "q".to_owned()),
            };
            let partition = event.id().partition();
            NewRecord {
                event: event.name(),
                payload: event.encode().into(),
                ..a_record(
                    &format!("tasks.{partition}.{team}.{queue}.{}", event.kind()),
                    "",
                )
            }
        })
        .collect();
    log.append(an_append(records)).await.unwrap();
    let mut read: Vec<TaskEvent> = Vec::new();
    for record in all(&log, Stream::Tasks).await {
        assert_ne!(record.event, PartitionOwned::NAME);
        match task_record(&record).unwrap() {
            waybill_log::TaskRecord::Event(event) => read.push(event),
            owned @ waybill_log::TaskRecord::Owned(..) => panic!("{owned:?}"),
        }
    }
    assert_eq!(read.len(), events.len());
    assert!(events.iter().all(|event| read.contains(event)));
}

/// A frame that the server has stored although its answer is lost is not stored twice, and is found where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_whose_answer_is_lost_is_stored_once() {
    let server = NatsServer::start().await.unwrap();
    let proxy = waybill_testkit::Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let witness = connect_alone(&config_at(&server.url())).await.unwrap();
    let mut config = config_at(&proxy.url());
    config.request_timeout_ms = 15_000;
    let log = connect(&config).await.unwrap();
    let owned = append_one(&witness, OWNER, "owned").await;
    for fenced in [false, true] {
        let before = witness.bounds(Stream::Tasks).await.unwrap();
        proxy.deafen();
        let interfere = async {
            waybill_testkit::eventually(SOON, async || {
                witness.bounds(Stream::Tasks).await.unwrap().last > before.last
            })
            .await
            .unwrap();
            append_one(&witness, EVENT, "later").await;
            proxy.cut();
            proxy.heal();
        };
        let append = an_append(named(EVENT, 100));
        let append = match fenced {
            true => append.fenced_by(OWNER, owned),
            false => append,
        };
        let (appended, ()) = tokio::join!(log.append(append), interfere);
        let appended = appended.unwrap();
        assert!(!appended.duplicate);
        let stored = witness
            .range(
                Stream::Tasks,
                &[],
                before.last.next(),
                StreamSeq(u64::MAX),
                999,
            )
            .await
            .unwrap();
        assert_eq!(seqs(&stored)[..100], appended.seqs);
        assert_eq!(stored.len(), 101);
        assert_eq!(payloads(&stored)[100], "later");
    }
}
