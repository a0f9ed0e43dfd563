//! What every log does. Each test runs over both implementations, and over JetStream with both kinds of tails.

mod leases;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::Reads;
use waybill_log::{Append, AppendError, ReadError, Stream, StreamSeq, first_at};

use crate::fixture::{
    EVENT, Full, SOON, Shape, a_log_read, a_memory_log, a_record, all, an_append, append_one,
    payloads, read_until,
};

use leases::{
    a_lease_given_back_is_free, a_lease_has_one_holder, a_lease_is_taken_again_by_its_own_holder,
    a_lease_runs_out_and_cannot_be_renewed, snapshots_are_replaced,
};

const OWNER: &str = "tasks.1.owner";

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::a_memory_log()).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_server, log) = super::a_log_read(super::Reads::Consumers).await;
                super::$name(log).await;
            })*
        }
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_server, log) = super::a_log_read(super::Reads::Direct).await;
                super::$name(log).await;
            })*
        }
    };
}

conformance!(
    what_is_appended_is_read_back,
    an_atomic_append_is_contiguous,
    an_ordered_append_keeps_its_order,
    what_no_log_can_store_is_refused,
    a_fence_may_watch_another_subject_than_the_one_written,
    a_stale_owner_cannot_append,
    only_the_guilty_fence_of_a_gathering_fails,
    of_many_that_expect_the_same_only_one_is_stored,
    an_append_may_move_its_own_fence,
    a_clients_id_is_stored_once,
    a_clients_id_covers_all_records_of_an_append,
    a_clients_duplicate_does_not_harm_its_neighbours,
    a_tail_begins_anywhere_and_goes_on,
    a_tail_shows_only_what_its_filters_match,
    a_dropped_wait_of_a_tail_loses_nothing,
    ranges_end_where_they_should,
    the_last_record_of_a_filter,
    an_empty_stream_has_bounds,
    a_read_below_the_first_message_is_a_gap,
    a_tail_that_a_purge_overtakes_says_so,
    positions_are_found_by_time,
    the_streams_are_apart,
    a_lease_has_one_holder,
    a_lease_runs_out_and_cannot_be_renewed,
    a_lease_given_back_is_free,
    a_lease_is_taken_again_by_its_own_holder,
    snapshots_are_replaced,
);

async fn what_is_appended_is_read_back(log: impl Full) {
    let mut record = a_record(EVENT, "hello");
    record.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let appended = log.append(an_append(vec![record.clone()])).await.unwrap();
    assert_eq!(appended.seqs, [StreamSeq(1)]);
    assert!(!appended.duplicate);
    let found = log.read(Stream::Tasks, StreamSeq(1)).await.unwrap();
    let found = found.unwrap();
    assert_eq!(
        (
            &found.subject,
            &*found.event,
            &found.actor,
            &found.traceparent,
            &found.payload
        ),
        (
            &record.subject,
            record.event,
            &record.actor,
            &record.traceparent,
            &record.payload
        ),
    );
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - found.time.0;
    assert!((-5_000..60_000).contains(&age), "{age} ms old");
    assert_eq!(log.read(Stream::Tasks, StreamSeq(2)).await.unwrap(), None);
}

async fn an_atomic_append_is_contiguous(log: impl Full) {
    let log = Arc::new(log);
    let appends = (0..40).map(|n| {
        let log = Arc::clone(&log);
        async move {
            let records = (0..3)
                .map(|i| a_record(EVENT, &format!("{n}.{i}")))
                .collect();
            log.append(an_append(records).atomic()).await.unwrap()
        }
    });
    let appended = join_all(appends).await;
    let stored = payloads(&all(&*log, Stream::Tasks).await);
    for (n, appended) in appended.iter().enumerate() {
        let first = appended.seqs[0].0;
        for (i, seq) in appended.seqs.iter().enumerate() {
            assert_eq!(seq.0, first + i as u64);
            assert_eq!(stored[seq.0 as usize - 1], format!("{n}.{i}"));
        }
    }
    assert_eq!(stored.len(), 120);
}

pub async fn an_ordered_append_keeps_its_order(log: impl Full) {
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let records = names.iter().map(|name| a_record(EVENT, name)).collect();
    let appended = log.append(an_append(records)).await.unwrap();
    assert_eq!(appended.seqs.len(), 1000);
    assert_eq!(payloads(&all(&log, Stream::Tasks).await), names);
}

pub async fn what_no_log_can_store_is_refused(log: impl Full) {
    let record = || a_record(EVENT, "x");
    for append in [
        an_append(vec![]),
        an_append((0..1001).map(|_| record()).collect()),
        an_append(vec![record(), record()]).identified_by("a"),
    ] {
        let refused = log.append(append).await;
        assert!(
            matches!(refused, Err(AppendError::Rejected { .. })),
            "{refused:?}"
        );
    }
    assert!(all(&log, Stream::Tasks).await.is_empty());
}

pub async fn a_fence_may_watch_another_subject_than_the_one_written(log: impl Full) {
    let owned = append_one(&log, OWNER, "owned").await;
    for n in 0..3 {
        let append = an_append(vec![a_record(EVENT, &n.to_string())]).fenced_by(OWNER, owned);
        log.append(append).await.unwrap();
    }
    assert_eq!(all(&log, Stream::Tasks).await.len(), 4);
}

pub async fn a_stale_owner_cannot_append(log: impl Full) {
    let first = append_one(&log, OWNER, "first").await;
    let second = append_one(&log, OWNER, "second").await;
    for records in [1, 5, 100] {
        let records = || (0..records).map(|_| a_record(EVENT, "x")).collect();
        let refused = log
            .append(an_append(records()).fenced_by(OWNER, first))
            .await;
        let conflict = AppendError::Conflict {
            filter: OWNER.to_owned(),
            expected: first,
        };
        assert_eq!(refused, Err(conflict));
        log.append(an_append(records()).fenced_by(OWNER, second))
            .await
            .unwrap();
    }
    assert_eq!(all(&log, Stream::Tasks).await.len(), 2 + 106);
}

pub async fn only_the_guilty_fence_of_a_gathering_fails(log: impl Full) {
    let fences: Vec<String> = (0..4).map(|n| format!("tasks.{n}.owner")).collect();
    let mut owned = Vec::new();
    for fence in &fences {
        owned.push(append_one(&log, fence, "owned").await);
    }
    // The last one is stale.
    append_one(&log, &fences[3], "stolen").await;
    let log = Arc::new(log);
    let appends = (0..200).map(|n| {
        let (log, which) = (Arc::clone(&log), n % 5);
        let append = an_append(vec![a_record(EVENT, &n.to_string())]);
        let append = match fences.get(which) {
            Some(fence) => append.fenced_by(fence, owned[which]),
            None => append,
        };
        async move { (which, log.append(append).await) }
    });
    for (which, appended) in join_all(appends).await {
        match which {
            3 => assert!(
                matches!(appended, Err(AppendError::Conflict { .. })),
                "{appended:?}"
            ),
            _ => drop(appended.unwrap()),
        }
    }
    assert_eq!(all(&*log, Stream::Tasks).await.len(), 5 + 160);
}

async fn of_many_that_expect_the_same_only_one_is_stored(log: impl Full) {
    let log = Arc::new(log);
    for round in 0..5 {
        let before = log.last(Stream::Control, "control.t.>").await.unwrap();
        let before = before.map_or(StreamSeq(0), |record| record.seq);
        let appends = (0..60).map(|n| {
            let log = Arc::clone(&log);
            // Half of them carry nothing that the watched filter would match, so that there is a batch to hide in.
            let (subject, filter) = if n % 2 == 0 {
                (format!("control.t.key.k{n}"), "control.t.>")
            } else {
                (format!("control.other.key.k{n}"), "")
            };
            let mut append = an_append(vec![a_record(&subject, "x")]).to(Stream::Control);
            if !filter.is_empty() {
                append = append.fenced_by(filter, before);
            }
            async move { (n, log.append(append).await) }
        });
        let mut stored = 0;
        for (n, appended) in join_all(appends).await {
            match appended {
                Ok(_) if n % 2 == 0 => stored += 1,
                Ok(_) => {}
                Err(error) => assert!(matches!(error, AppendError::Conflict { .. }), "{error}"),
            }
        }
        assert_eq!(stored, 1, "round {round}");
    }
}

async fn an_append_may_move_its_own_fence(log: impl Full) {
    let records = |n: usize| (0..n).map(|_| a_record(OWNER, "x")).collect::<Vec<_>>();
    let first = log
        .append(an_append(records(1)).fenced_by(OWNER, StreamSeq(0)))
        .await
        .unwrap();
    let many = log
        .append(an_append(records(3)).fenced_by(OWNER, first.seqs[0]))
        .await
        .unwrap();
    assert_eq!(many.seqs, [2, 3, 4].map(StreamSeq));
    let again = log
        .append(an_append(records(3)).fenced_by(OWNER, first.seqs[0]))
        .await;
    assert!(
        matches!(again, Err(AppendError::Conflict { .. })),
        "{again:?}"
    );
}

fn identified(id: &str, payload: &str) -> Append {
    an_append(vec![a_record(EVENT, payload)]).identified_by(id)
}

pub async fn a_clients_id_is_stored_once(log: impl Full) {
    let first = log.append(identified("order-1", "a")).await.unwrap();
    append_one(&log, EVENT, "between").await;
    let again = log.append(identified("order-1", "b")).await.unwrap();
    assert!(!first.duplicate);
    assert!(again.duplicate);
    assert_eq!(again.seqs, first.seqs);
    let stored = log
        .read(Stream::Tasks, first.seqs[0])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.msg_id.as_deref(), Some("order-1"));
    assert_eq!(payloads(&all(&log, Stream::Tasks).await), ["a", "between"]);
}

pub async fn a_clients_id_covers_all_records_of_an_append(log: impl Full) {
    let several = |payload: &str| {
        let records = (0..3).map(|n| a_record(EVENT, &format!("{payload}{n}")));
        an_append(records.collect())
            .atomic()
            .identified_by("flow-1")
    };
    let log = Arc::new(log);
    let many = (0..8).map(|n| {
        let (log, append) = (Arc::clone(&log), several(&n.to_string()));
        async move { log.append(append).await.unwrap() }
    });
    let appended = join_all(many).await;
    let new = appended.iter().filter(|appended| !appended.duplicate);
    let new: Vec<_> = new.collect();
    assert_eq!(new.len(), 1, "{appended:?}");
    let [first, _, last] = new[0].seqs[..] else {
        panic!("{new:?}");
    };
    assert_eq!(last.0 - first.0, 2, "nothing lies between them");
    append_one(&*log, EVENT, "between").await;
    assert!(log.append(several("later")).await.unwrap().duplicate);
    assert_eq!(all(&*log, Stream::Tasks).await.len(), 4);
}

pub async fn a_clients_duplicate_does_not_harm_its_neighbours(log: impl Full) {
    log.append(identified("order-1", "first")).await.unwrap();
    let log = Arc::new(log);
    let appends = (0..200).map(|n| {
        let log = Arc::clone(&log);
        let payload = n.to_string();
        let append = if n % 50 == 0 {
            identified("order-1", &payload)
        } else {
            an_append(vec![a_record(EVENT, &payload)])
        };
        async move { (n, log.append(append).await.unwrap()) }
    });
    for (n, appended) in join_all(appends).await {
        assert_eq!(appended.duplicate, n % 50 == 0);
    }
    assert_eq!(all(&*log, Stream::Tasks).await.len(), 1 + 196);
}

async fn a_tail_begins_anywhere_and_goes_on(log: impl Full) {
    for n in 1..=300 {
        append_one(&log, EVENT, &n.to_string()).await;
    }
    for from in [0, 1, 150, 300, 301] {
        let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(from));
        let first = from.max(1);
        let old = read_until(&mut *tail, 301 - first as usize).await;
        let seqs: Vec<u64> = old.iter().map(|record| record.seq.0).collect();
        assert_eq!(seqs, (first..=300).collect::<Vec<_>>());
    }
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(299));
    read_until(&mut *tail, 2).await;
    let (appended, read) = tokio::join!(append_one(&log, EVENT, "new"), read_until(&mut *tail, 1));
    assert_eq!(read[0].seq, appended);
    assert_eq!(payloads(&read), ["new"]);
}

async fn a_tail_shows_only_what_its_filters_match(log: impl Full) {
    for n in 0..50 {
        append_one(
            &log,
            &format!("tasks.{}.t.q.created", n % 5),
            &n.to_string(),
        )
        .await;
    }
    let filters = vec!["tasks.1.>".to_owned(), "tasks.3.*.*.created".to_owned()];
    let mut tail = log.tail(Stream::Tasks, filters, StreamSeq(11));
    let read = payloads(&read_until(&mut *tail, 16).await);
    let wanted: Vec<String> = (10..50)
        .filter(|n| n % 5 == 1 || n % 5 == 3)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(read, wanted);
}

pub async fn a_dropped_wait_of_a_tail_loses_nothing(log: impl Full) {
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    let writing = async {
        for n in 0..300 {
            append_one(&log, EVENT, &n.to_string()).await;
        }
    };
    let reading = async {
        let mut read = Vec::new();
        while read.len() < 300 {
            let wait = tail.next_batch(7);
            if let Ok(batch) = tokio::time::timeout(Duration::from_micros(200), wait).await {
                read.extend(batch.unwrap());
            }
        }
        read
    };
    let both = async { tokio::join!(writing, reading) };
    let ((), read) = tokio::time::timeout(SOON, both).await.unwrap();
    assert_eq!(read, all(&log, Stream::Tasks).await);
}

async fn ranges_end_where_they_should(log: impl Full) {
    let records = (1..=2500).map(|n| a_record(&format!("tasks.{}.owner", n % 2), &n.to_string()));
    let records: Vec<_> = records.collect();
    for chunk in records.chunks(1000) {
        log.append(an_append(chunk.to_vec())).await.unwrap();
    }
    let odd = ["tasks.1.owner".to_owned()];
    let both = ["tasks.1.owner".to_owned(), "tasks.*.owner".to_owned()];
    let end = StreamSeq(u64::MAX);
    for (filters, from, to, limit, wanted) in [
        (
            &[][..],
            1,
            StreamSeq(2500),
            9999,
            (1..=2500).collect::<Vec<u64>>(),
        ),
        (&[], 0, end, 9999, (1..=2500).collect()),
        (&[], 100, StreamSeq(110), 9999, (100..=110).collect()),
        (&[], 100, end, 7, (100..107).collect()),
        (&[], 2501, end, 7, vec![]),
        (&[], 7, StreamSeq(6), 7, vec![]),
        (
            &odd,
            100,
            StreamSeq(110),
            9999,
            vec![101, 103, 105, 107, 109],
        ),
        (&odd, 100, end, 3, vec![101, 103, 105]),
        (&both, 100, end, 4, vec![100, 101, 102, 103]),
    ] {
        let read = log
            .range(Stream::Tasks, filters, StreamSeq(from), to, limit)
            .await;
        let seqs: Vec<u64> = read.unwrap().iter().map(|record| record.seq.0).collect();
        assert_eq!(
            seqs, wanted,
            "{filters:?} from {from} to {to}, {limit} of it"
        );
    }
}

pub async fn the_last_record_of_a_filter(log: impl Full) {
    assert_eq!(log.last(Stream::Tasks, OWNER).await.unwrap(), None);
    append_one(&log, OWNER, "a").await;
    append_one(&log, OWNER, "b").await;
    append_one(&log, EVENT, "c").await;
    for (filter, payload) in [(OWNER, "b"), ("tasks.*.owner", "b"), ("tasks.>", "c")] {
        let last = log.last(Stream::Tasks, filter).await.unwrap().unwrap();
        assert_eq!(last.payload, payload, "{filter}");
    }
    assert_eq!(
        log.last(Stream::Tasks, "tasks.2.owner").await.unwrap(),
        None
    );
}

async fn an_empty_stream_has_bounds(log: impl Full) {
    let empty = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!((empty.first, empty.last), (StreamSeq(1), StreamSeq(0)));
    append_one(&log, EVENT, "a").await;
    append_one(&log, EVENT, "b").await;
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    assert_eq!((bounds.first, bounds.last), (StreamSeq(1), StreamSeq(2)));
    assert_eq!(bounds.incarnation, empty.incarnation);
}

pub async fn the_streams_are_apart(log: impl Full) {
    append_one(&log, EVENT, "task").await;
    let control = an_append(vec![a_record("control.t.team.t", "team")]).to(Stream::Control);
    let appended = log.append(control).await.unwrap();
    assert_eq!(appended.seqs, [StreamSeq(1)]);
    assert_eq!(payloads(&all(&log, Stream::Control).await), ["team"]);
    assert_eq!(payloads(&all(&log, Stream::Tasks).await), ["task"]);
}

async fn a_read_below_the_first_message_is_a_gap(log: impl Full) {
    for number in 0..6 {
        append_one(&log, EVENT, &format!("{number}")).await;
    }
    assert_eq!(log.purge_tasks(StreamSeq(4)).await, Ok(3));
    assert_eq!(log.purge_tasks(StreamSeq(2)).await, Ok(0), "never back");
    let gap = ReadError::Gap {
        stream: "TASKS",
        from: StreamSeq(2),
        first: StreamSeq(4),
    };
    let all = |from| {
        let log = &log;
        async move {
            let read = log.range(Stream::Tasks, &[], StreamSeq(from), StreamSeq(9), 9);
            read.await.map(|records| payloads(&records))
        }
    };
    assert_eq!(all(2).await, Err(gap.clone()));
    let left = ["3", "4", "5"].map(str::to_owned);
    assert_eq!(all(4).await.unwrap(), left);
    assert_eq!(all(0).await.unwrap(), left, "whatever is left");
    assert_eq!(log.read(Stream::Tasks, StreamSeq(2)).await, Ok(None));
    // A tail says it once, also to a filter that nothing dropped has matched, and goes on behind it.
    for filters in [vec![], vec!["tasks.*.>".to_owned()]] {
        let mut tail = log.tail(Stream::Tasks, filters, StreamSeq(2));
        assert_eq!(tail.next_batch(9).await, Err(gap.clone()));
        assert_eq!(payloads(&read_until(tail.as_mut(), 3).await), left);
    }
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(0));
    assert_eq!(payloads(&read_until(tail.as_mut(), 3).await), left);
}

async fn a_tail_that_a_purge_overtakes_says_so(log: impl Full) {
    append_one(&log, EVENT, "first").await;
    let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
    assert_eq!(payloads(&read_until(tail.as_mut(), 1).await), ["first"]);
    // More than is asked for at once, so that it cannot all be on its way to the reader.
    let many = vec![a_record(EVENT, "many"); 900];
    for _ in 0..6 {
        log.append(an_append(many.clone())).await.unwrap();
    }
    let last = append_one(&log, EVENT, "last").await;
    log.purge_tasks(last).await.unwrap();
    let mut gaps = 0;
    loop {
        match tail.next_batch(100).await {
            Ok(records) if records.iter().any(|record| record.seq == last) => break,
            Ok(_) => {}
            Err(ReadError::Gap { first, .. }) => {
                assert_eq!(first, last);
                gaps += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(gaps, 1);
}

async fn positions_are_found_by_time(log: impl Full) {
    for number in 0..5 {
        append_one(&log, EVENT, &format!("{number}")).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    log.purge_tasks(StreamSeq(2)).await.unwrap();
    let bounds = log.bounds(Stream::Tasks).await.unwrap();
    let third = log
        .read(Stream::Tasks, StreamSeq(3))
        .await
        .unwrap()
        .unwrap();
    for (time, position) in [
        (third.time, 3),
        (Timestamp(third.time.0 + 1), 4),
        (Timestamp(0), 2),
        (Timestamp(i64::MAX), 6),
    ] {
        let found = first_at(&log, Stream::Tasks, bounds, time).await;
        assert_eq!(found, Ok(StreamSeq(position)), "{time:?}");
    }
}
