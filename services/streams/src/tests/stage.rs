//! What the tests of streams stand on: logs that misbehave, gateways without HTTP, and a reader of server-sent events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use waybill_domain::event::{
    Failure, FailureKind, TaskCancelled, TaskEvent, TaskExpired, TaskStarted,
};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Bounds, Expectation, Log, NewRecord, ReadError,
    Record, Stream, Tail,
};

use crate::filter::EventFilter;
use crate::hub::{Hub, HubLimits};
use crate::labels::{LabelSource, Labels};
use crate::subscription::Subscription;

pub(super) const QUEUES: [&str; 3] = ["default", "mail", "reports"];

pub(super) fn team(number: u8) -> TeamId {
    TeamId::new(Timestamp(1), u128::from(number))
}

/// One: so every task stands in the partition of its queue, whatever its queue is.
pub(super) fn partitions() -> PartitionCount {
    PartitionCount::new(1).expect("in range")
}

pub(super) fn partition() -> Partition {
    Partition::new(0).expect("in range")
}

pub(super) fn task(number: u8) -> TaskId {
    TaskId::new(Timestamp(1), u128::from(number), partition())
}

pub(super) fn event(kind: u8, id: TaskId) -> TaskEvent {
    let at = Timestamp(1_700_000_000_000);
    match kind % 3 {
        0 => TaskEvent::Started(TaskStarted {
            id,
            attempt: 1,
            at,
            lease_until: at,
            probe: false,
            claim: None,
            waits: Vec::new(),
        }),
        1 => TaskEvent::Cancelled(TaskCancelled::idle(id, at)),
        _ => TaskEvent::Expired(TaskExpired {
            id,
            attempt: Some(1),
            at,
            failure: Failure {
                kind: FailureKind::Timeout,
                message: "No answer within 30 s".into(),
            },
            cancels_to: None,
            waits: Vec::new(),
        }),
    }
}

pub(super) fn append(log: &MemoryLog, team: &TeamId, queue: &str, event: &TaskEvent) -> StreamSeq {
    append_all(log, team, queue, std::slice::from_ref(event))[0]
}

/// Appends several events of a queue at once.
pub(super) fn append_all(
    log: &MemoryLog,
    team: &TeamId,
    queue: &str,
    events: &[TaskEvent],
) -> Vec<StreamSeq> {
    let queue = QueueName::parse(queue).expect("a name");
    let partition = Partition::of(team, &queue, partitions());
    let record = |event: &TaskEvent| NewRecord {
        subject: TaskSubject::event(partition, team, &queue, event.kind()).to_string(),
        event: event.name(),
        actor: "system:worker".into(),
        traceparent: None,
        origin: None,
        payload: Bytes::from(event.encode()),
    };
    append_records(log, events.iter().map(record).collect())
}

pub(super) fn append_record(log: &MemoryLog, record: NewRecord) -> StreamSeq {
    append_records(log, vec![record])[0]
}

fn append_records(log: &MemoryLog, records: Vec<NewRecord>) -> Vec<StreamSeq> {
    let append = Append {
        stream: Stream::Tasks,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    };
    let appended = log.append(append).now_or_never();
    appended
        .expect("no waiting in memory")
        .expect("stored")
        .seqs
}

/// A log of which every n-th read fails, and whose tail may lag behind what is stored.
pub(super) struct Flaky {
    pub(super) log: MemoryLog,
    pub(super) every: u64,
    pub(super) lags: bool,
    pub(super) reads: Arc<AtomicU64>,
}

pub(super) fn fails(every: u64, reads: &AtomicU64) -> Result<(), ReadError> {
    let count = reads.fetch_add(1, Ordering::Relaxed) + 1;
    if every > 0 && count.is_multiple_of(every) {
        let reason = "switched off for the test".into();
        return Err(ReadError::Unavailable { reason });
    }
    Ok(())
}

#[async_trait]
impl Log for Flaky {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        Box::new(FlakyTail {
            tail: self.log.tail(stream, filters, from),
            every: self.every,
            lags: self.lags,
            reads: Arc::clone(&self.reads),
        })
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        fails(self.every, &self.reads)?;
        self.log.read(stream, seq).await
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        fails(self.every, &self.reads)?;
        // Others get their turn while a page is read, as over a network.
        tokio::task::yield_now().await;
        self.log.range(stream, filters, from, to, limit).await
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        fails(self.every, &self.reads)?;
        self.log.last(stream, filter).await
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        fails(self.every, &self.reads)?;
        tokio::task::yield_now().await;
        self.log.bounds(stream).await
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.log.purge_tasks(first).await
    }
}

pub(super) struct FlakyTail {
    pub(super) tail: Box<dyn Tail>,
    pub(super) every: u64,
    pub(super) lags: bool,
    pub(super) reads: Arc<AtomicU64>,
}

#[async_trait]
impl Tail for FlakyTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        fails(self.every, &self.reads)?;
        if self.lags {
            // With the clock paused this is for as long as anybody has anything else to do.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.tail.next_batch(max.min(7)).await
    }
}

pub(super) fn limits(queue: usize) -> HubLimits {
    HubLimits {
        queue,
        page_reads: 2,
        ..HubLimits::default()
    }
}

/// A read model as far as labels go: each task has its own id as metadata. Counts the questions, and may be silent.
#[derive(Default)]
pub(super) struct ReadModel {
    pub(super) asked: AtomicU64,
    pub(super) is_silent: AtomicBool,
}

#[async_trait]
impl LabelSource for ReadModel {
    async fn labels(&self, task: TaskId) -> Option<Labels> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        // Others get their turn meanwhile, as over a network.
        tokio::task::yield_now().await;
        Some(Labels {
            tags: vec!["asked".into()],
            metadata: [("task".to_owned(), task.to_string())].into(),
        })
    }
}

pub(super) struct Gateway {
    pub(super) read_model: Arc<ReadModel>,
    pub(super) hub: Arc<Hub>,
    pub(super) stopping: CancellationToken,
}

impl Gateway {
    pub(super) fn start(log: &Arc<dyn Log>, queue: usize) -> Self {
        let stopping = CancellationToken::new();
        let partitions = partitions();
        let read_model = Arc::<ReadModel>::default();
        Self {
            hub: Hub::new(
                Arc::clone(log),
                partitions,
                Arc::clone(&read_model) as Arc<dyn LabelSource>,
                stopping.clone(),
                limits(queue),
            ),
            read_model,
            stopping,
        }
    }

    pub(super) fn subscribe(&self, filter: &EventFilter, after: StreamSeq) -> Subscription {
        let slot = self.hub.take_slot(filter.of_team()).expect("room");
        let hub = Arc::clone(&self.hub);
        Subscription::new(hub, filter.clone(), after, None, slot, Box::new(|| true))
    }
}

/// What a client makes of the text it gets, as a browser would.
#[derive(Default, Debug)]
pub(super) struct Reader {
    pub(super) last_id: u64,
    /// Ids of the events seen.
    pub(super) seen: Vec<u64>,
    /// Each of them as it was told.
    pub(super) told: Vec<serde_json::Value>,
    pub(super) names: Vec<String>,
    /// `(after, first_available)`
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) comments: Vec<String>,
}

impl Reader {
    pub(super) fn take(&mut self, chunk: &[u8]) {
        let text = std::str::from_utf8(chunk).expect("UTF-8");
        assert!(
            text.ends_with("\n\n"),
            "a chunk holds whole blocks: {text:?}"
        );
        for block in text.split_terminator("\n\n") {
            let mut name = None;
            let mut data = None;
            for line in block.lines() {
                match line.split_once(": ").expect("a field") {
                    ("", comment) => self.comments.push(comment.into()),
                    ("id", id) => {
                        let id = id.parse().expect("a number");
                        assert!(id >= self.last_id, "{id} after {}", self.last_id);
                        assert!(data.is_none(), "the id comes first");
                        self.last_id = id;
                    }
                    ("event", event) => name = Some(event),
                    ("data", json) => data = Some(json),
                    ("retry", _) => {}
                    other => panic!("{other:?}"),
                }
            }
            let (Some(name), Some(data)) = (name, data) else {
                continue;
            };
            let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
            self.names.push(name.into());
            match name {
                "gap" => self.gaps.push((
                    data["after"].as_u64().expect("after"),
                    data["firstAvailable"].as_u64().expect("firstAvailable"),
                )),
                "end" => {}
                _ => {
                    assert_eq!(data["id"], self.last_id);
                    assert_eq!(data["type"], name);
                    let before = self.seen.last().copied().unwrap_or(0);
                    assert!(before < self.last_id, "{} after {before}", self.last_id);
                    self.seen.push(self.last_id);
                    self.told.push(data);
                }
            }
        }
    }

    pub(super) fn rested(&self) -> bool {
        self.comments
            .ends_with(&["heartbeat".into(), "heartbeat".into()])
    }

    /// Reads until two heartbeats in a row: with the clock paused, time passes only when there is nothing else to do, so all that
    /// was to come has come in the 15 seconds between them. The first may be overdue from before.
    pub(super) async fn read_to_rest(&mut self, subscription: &mut Subscription) -> bool {
        self.comments.clear();
        while !self.rested() {
            match subscription.next().await {
                Some(chunk) => self.take(&chunk.frame()),
                None => return false,
            }
        }
        true
    }
}

/// A log whose bounds are known only once it is released.
pub(super) struct Stuck {
    pub(super) log: MemoryLog,
    pub(super) released: tokio::sync::Notify,
}

#[async_trait]
impl Log for Stuck {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.log.append(append).await
    }

    fn tail(&self, stream: Stream, filters: Vec<String>, from: StreamSeq) -> Box<dyn Tail> {
        self.log.tail(stream, filters, from)
    }

    async fn read(&self, stream: Stream, seq: StreamSeq) -> Result<Option<Record>, ReadError> {
        self.log.read(stream, seq).await
    }

    async fn range(
        &self,
        stream: Stream,
        filters: &[String],
        from: StreamSeq,
        to: StreamSeq,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        self.log.range(stream, filters, from, to, limit).await
    }

    async fn last(&self, stream: Stream, filter: &str) -> Result<Option<Record>, ReadError> {
        self.log.last(stream, filter).await
    }

    async fn bounds(&self, stream: Stream) -> Result<Bounds, ReadError> {
        self.released.notified().await;
        self.log.bounds(stream).await
    }

    async fn purge_tasks(&self, first: StreamSeq) -> Result<u64, ReadError> {
        self.log.purge_tasks(first).await
    }
}
