//! Stored messages at which the client library ends its connection: each reader goes past them, and reads them alike.

use bytes::Bytes;
use std::time::Duration;
use waybill_domain::audit::TreeId;
use waybill_domain::id::{Environment, TeamId, TokenId};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::Reads;
use waybill_log::{
    Addition, Checkpoints, Counted, Fences, JetStreamLog, KeyName, KeysOf, Leases, Log, Reason,
    Record, Stream, StreamSeq, Tallies, TallyName, VaultKeys, Wanted, control_event, task_record,
};
use waybill_testkit::NatsServer;
use waybill_testkit::raw_nats::{MALFORMED_HEADERS, ODD_HEADERS, store};

use crate::fixture::{
    Shape, a_jetstream_log, a_log_read, a_record, all, an_append, read_both_ways, read_until,
};

const TASK: &str = "tasks.1.t.q.started";
const TEAM: &str = "control.t.team.t";

/// As many as must not cost a connection each.
const MANY: usize = 200;

fn subject(stream: Stream) -> &'static str {
    match stream {
        Stream::Tasks => TASK,
        Stream::Control => TEAM,
    }
}

async fn good(log: &JetStreamLog, stream: Stream) -> StreamSeq {
    let append = an_append(vec![a_record(subject(stream), "good")]).to(stream);
    log.append(append).await.unwrap().seqs[0]
}

/// Every kind of malformed message between two good ones. Says how many there are in all.
async fn plant(server: &NatsServer, log: &JetStreamLog, stream: Stream) -> usize {
    good(log, stream).await;
    let at = subject(stream).as_bytes();
    for headers in MALFORMED_HEADERS.into_iter().chain(ODD_HEADERS) {
        store(server.port(), at, headers, b"bad").await.unwrap();
    }
    // The line that announces a message is parsed too: a subject that is not UTF-8, and one with a space that only Unicode knows.
    for end in [&b".\xff"[..], ".a\u{a0}b".as_bytes()] {
        let subject = [at, end].concat();
        let headers = b"NATS/1.0\r\n\r\n";
        store(server.port(), &subject, headers, b"bad")
            .await
            .unwrap();
    }
    good(log, stream).await;
    MALFORMED_HEADERS.len() + ODD_HEADERS.len() + 4
}

/// The connection on which leases are renewed was made once.
fn is_undisturbed(log: &JetStreamLog) -> bool {
    log.client()
        .statistics()
        .connects
        .load(std::sync::atomic::Ordering::Relaxed)
        == 1
}

fn are_set_aside(stream: Stream, records: &[Record]) {
    for record in records.iter().filter(|record| *record.payload == *b"bad") {
        let why = match stream {
            Stream::Tasks => task_record(record).unwrap_err(),
            Stream::Control => control_event(record).unwrap_err(),
        };
        assert_eq!(why.reason(), Reason::Foreign, "{record:?}");
    }
}

async fn every_reader_goes_past(stream: Stream, reads: Reads) {
    let (server, log) = a_log_read(reads).await;
    let mut live = log.tail(stream, Vec::new(), StreamSeq(1));
    let count = plant(&server, &log, stream).await;

    let read_live = read_until(live.as_mut(), count).await;
    let ranged = all(&log, stream).await;
    assert_eq!(ranged.len(), count);
    are_set_aside(stream, &ranged);
    assert_eq!(read_live, ranged);
    let mut late = log.tail(
        stream,
        vec![format!("{}.>", stream.name().to_lowercase())],
        StreamSeq(1),
    );
    assert_eq!(read_until(late.as_mut(), count).await, ranged);
    for record in &ranged {
        let read = log.read(stream, record.seq).await.unwrap();
        assert_eq!(read.as_ref(), Some(record));
    }
    let filters = [subject(stream).to_owned()];
    let last = log.bounds(stream).await.unwrap().last;
    let exact = log
        .range(stream, &filters, StreamSeq(1), last, 1000)
        .await
        .unwrap();
    assert_eq!(exact.len(), count - 2);
    for headers in MALFORMED_HEADERS {
        let seq = store(server.port(), subject(stream).as_bytes(), headers, b"bad")
            .await
            .unwrap();
        let last = log.last(stream, subject(stream)).await.unwrap().unwrap();
        assert_eq!(
            (last.seq, &*last.event),
            (StreamSeq(seq), "(unreadable headers)")
        );
    }
    assert!(is_undisturbed(&log));
}

read_both_ways!(
    readers_of_tasks_go_past_malformed_messages_and_read_them_alike,
    readers_of_control_go_past_malformed_messages_and_read_them_alike,
    many_malformed_messages_cost_few_connections,
    fence_and_checkpoints_are_read_past_malformed_messages,
);

async fn readers_of_tasks_go_past_malformed_messages_and_read_them_alike(reads: Reads) {
    every_reader_goes_past(Stream::Tasks, reads).await;
}

async fn readers_of_control_go_past_malformed_messages_and_read_them_alike(reads: Reads) {
    every_reader_goes_past(Stream::Control, reads).await;
}

async fn many_malformed_messages_cost_few_connections(reads: Reads) {
    let (server, log) = a_log_read(reads).await;
    for at in 0..MANY {
        let headers = MALFORMED_HEADERS[at % 2];
        store(server.port(), TASK.as_bytes(), headers, b"bad")
            .await
            .unwrap();
    }
    good(&log, Stream::Tasks).await;
    let mut tail = log.tail(Stream::Tasks, Vec::new(), StreamSeq(1));
    let records = read_until(tail.as_mut(), MANY + 1).await;
    assert_eq!(all(&log, Stream::Tasks).await, records);
    // Doubling takes eight losses for each of the two readers.
    let made = server.log().matches("-read").count();
    assert!(made <= 40, "{made} lines of connections");
    assert!(is_undisturbed(&log));
}

async fn fence_and_checkpoints_are_read_past_malformed_messages(reads: Reads) {
    let (server, log) = a_log_read(reads).await;
    let port = server.port();
    let mut records = log.records(StreamSeq(1));
    for headers in MALFORMED_HEADERS {
        store(port, b"fence.x.y", headers, b"bad").await.unwrap();
    }
    assert_eq!(
        read_until(records.as_mut(), MALFORMED_HEADERS.len())
            .await
            .len(),
        MALFORMED_HEADERS.len()
    );

    let tree = TreeId::Control;
    let first = log
        .append_checkpoint(&tree, StreamSeq(0), Bytes::from_static(b"1"))
        .await
        .unwrap();
    let subject = "auditcp.control".to_owned();
    let mut last = first;
    for headers in MALFORMED_HEADERS {
        last = StreamSeq(
            store(port, subject.as_bytes(), headers, b"bad")
                .await
                .unwrap(),
        );
    }
    assert_eq!(log.last_checkpoint(&tree).await.unwrap().unwrap().seq, last);
    assert_eq!(
        log.checkpoints(&tree, StreamSeq(1), 100)
            .await
            .unwrap()
            .len(),
        1 + MALFORMED_HEADERS.len()
    );
    assert!(is_undisturbed(&log));
}

#[tokio::test]
async fn keys_leases_and_tallies_are_read_past_malformed_messages() {
    let (server, log) = a_jetstream_log().await;
    let port = server.port();
    let team = TeamId::new(Timestamp(1), 1);
    let name = |number: u64| KeyName::Token {
        team: team.clone(),
        token: TokenId::new(Timestamp(1), number.into()),
        version: 1,
    };
    VaultKeys::put(&log, &name(1), Bytes::from_static(b"k"), StreamSeq(0), None)
        .await
        .unwrap();
    for headers in MALFORMED_HEADERS {
        store(port, name(2).to_string().as_bytes(), headers, b"bad")
            .await
            .unwrap();
    }
    VaultKeys::put(&log, &name(3), Bytes::from_static(b"k"), StreamSeq(0), None)
        .await
        .unwrap();
    let of = KeysOf::TokensOf(team.clone());
    let listed = log.list(&of, StreamSeq(0), 100).await.unwrap();
    assert!(listed.iter().any(|listed| listed.name == name(3)));
    assert_eq!(
        VaultKeys::get(&log, &name(2)).await.unwrap().unwrap().value,
        "bad"
    );

    log.acquire("partition.1", "me").await.unwrap();
    for headers in MALFORMED_HEADERS {
        store(port, b"$KV.owners.partition.2", headers, b"nobody")
            .await
            .unwrap();
    }
    let mine = ("partition.1".to_owned(), "me".to_owned());
    assert!(log.holders().await.unwrap().contains(&mine));
    log.acquire("partition.2", "me").await.unwrap();
    assert_eq!(log.holders().await.unwrap().len(), 2);

    let tally = |day: &str| {
        TallyName::new(
            team.in_environment(Environment::Live),
            Counted::Day(day.into()),
        )
        .unwrap()
    };
    let counted = Addition {
        name: tally("2026-11-20"),
        count: 3,
        seen: None,
    };
    log.tally("a", &[counted]).await.unwrap();
    for line in [&b"\xff: x"[..], b"no colon"] {
        let headers = [b"NATS/1.0\r\nNats-Incr: +1\r\n", line, b"\r\n\r\n"].concat();
        let subject = tally("2026-11-21").to_string();
        store(port, subject.as_bytes(), &headers, b"")
            .await
            .unwrap();
    }
    let wanted = Wanted::Named(vec![tally("2026-11-20"), tally("2026-11-21")]);
    let read = tokio::time::timeout(Duration::from_secs(10), log.tallies(wanted)).await;
    let read = read.unwrap().unwrap();
    assert_eq!(read.iter().map(|tally| tally.count).sum::<u64>(), 3);
    assert!(is_undisturbed(&log));
}
