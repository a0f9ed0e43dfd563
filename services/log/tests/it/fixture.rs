//! Builders and the two logs under test.

use std::time::Duration;

use bytes::Bytes;
use waybill_log::jetstream::{Reads, StreamsConfig};
use waybill_log::memory::MemoryLog;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Leases, Log, MsgId, NatsConfig, NewRecord,
    Record, Snapshots, Stream, StreamSeq, Tail, connect, connect_alone,
};
use waybill_testkit::NatsServer;

/// Nothing that works takes longer, even on two busy cores.
pub const SOON: Duration = Duration::from_secs(20);
/// A subject of TASKS.
pub const EVENT: &str = "tasks.1.t.q.started";
/// The shortest that the server counts.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// Everything that an implementation offers.
pub trait Full: Log + Leases + Snapshots {}
impl<T: Log + Leases + Snapshots> Full for T {}

pub fn a_memory_log() -> MemoryLog {
    let clock = || {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        waybill_domain::time::Timestamp(since.as_millis().try_into().unwrap())
    };
    MemoryLog::new(std::sync::Arc::new(clock), LEASE_TTL)
}

pub fn config_at(url: &str) -> NatsConfig {
    NatsConfig {
        request_timeout_ms: 2_000,
        streams: StreamsConfig {
            lease_ttl_s: LEASE_TTL.as_secs(),
            ..StreamsConfig::default()
        },
        ..NatsConfig::at(url)
    }
}

/// The same, with streams read in one of several ways.
pub fn config_read(url: &str, reads: Reads) -> NatsConfig {
    NatsConfig {
        reads,
        ..config_at(url)
    }
}

pub async fn a_jetstream_log() -> (NatsServer, JetStreamLog) {
    a_log_read(Reads::Consumers).await
}

pub async fn a_log_read(reads: Reads) -> (NatsServer, JetStreamLog) {
    let server = NatsServer::start().await.unwrap();
    let log = connect(&config_read(&server.url(), reads)).await.unwrap();
    (server, log)
}

/// The same, where events travel in frames.
pub async fn a_jetstream_log_of_frames(reads: Reads) -> (NatsServer, JetStreamLog) {
    let server = NatsServer::start().await.unwrap();
    let config = config_read(&server.url(), reads);
    let log = connect_alone(&config).await.unwrap();
    (server, log)
}

pub fn a_memory_log_of_frames() -> MemoryLog {
    let log = a_memory_log();
    log.core().switch_to_frames();
    log
}

pub fn a_record(subject: &str, payload: &str) -> NewRecord {
    NewRecord {
        subject: subject.to_owned(),
        event: "test.happened.v1",
        actor: "system:test".to_owned(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(payload.to_owned()),
    }
}

/// An append to TASKS without conditions.
pub fn an_append(records: Vec<NewRecord>) -> Append {
    Append {
        stream: Stream::Tasks,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    }
}

pub trait Shape {
    fn fenced_by(self, filter: &str, seq: StreamSeq) -> Self;
    fn identified_by(self, id: &str) -> Self;
    fn to(self, stream: Stream) -> Self;
    fn atomic(self) -> Self;
}

impl Shape for Append {
    fn fenced_by(mut self, filter: &str, seq: StreamSeq) -> Self {
        self.expect = Expectation::LastOn {
            filter: filter.to_owned(),
            seq,
        };
        self
    }

    fn identified_by(mut self, id: &str) -> Self {
        self.msg_id = Some(MsgId(id.to_owned()));
        self
    }

    fn to(mut self, stream: Stream) -> Self {
        self.stream = stream;
        self
    }

    fn atomic(mut self) -> Self {
        self.atomicity = Atomicity::Atomic;
        self
    }
}

/// Appends one record and answers with its sequence.
pub async fn append_one(log: &impl Log, subject: &str, payload: &str) -> StreamSeq {
    let append = an_append(vec![a_record(subject, payload)]);
    log.append(append).await.unwrap().seqs[0]
}

/// Everything that is stored.
pub async fn all(log: &impl Log, stream: Stream) -> Vec<Record> {
    let last = log.bounds(stream).await.unwrap().last;
    log.range(stream, &[], StreamSeq(1), last, usize::MAX)
        .await
        .unwrap()
}

pub fn payloads(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.payload).into_owned())
        .collect()
}

/// Reads until there are `count`, passing errors over as a reader does.
pub async fn read_until(tail: &mut dyn Tail, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let reading = async {
        while records.len() < count {
            if let Ok(batch) = tail.next_batch(100).await {
                records.extend(batch);
            }
        }
    };
    let finished = tokio::time::timeout(SOON * 3, reading).await;
    assert!(
        finished.is_ok(),
        "only {} of {count} records came",
        records.len()
    );
    records
}

/// Runs each test over the store in memory and over JetStream.
macro_rules! over_both {
    ($memory:ident; $($name:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::$memory::default()).await;
            })*
        }
        mod jetstream {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (_server, log) = super::a_jetstream_log().await;
                super::$name(&log).await;
            })*
        }
    };
}
pub(crate) use over_both;

/// Runs each test with tails by consumers and with tails by direct gets.
macro_rules! read_both_ways {
    ($($name:ident),* $(,)?) => {
        mod consumers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(waybill_log::jetstream::Reads::Consumers).await;
            })*
        }
        mod direct {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(waybill_log::jetstream::Reads::Direct).await;
            })*
        }
    };
}
pub(crate) use read_both_ways;
