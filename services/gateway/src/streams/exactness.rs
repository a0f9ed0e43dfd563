//! Invariant 8: a stream resumed from any id shows each later event exactly once, in order. Tried with every kind of bad luck:
//! a log whose reads fail, retention, slow readers, gateways that go away, and all of them interleaved at random.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use proptest::prelude::*;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use waybill_domain::event::{
    CallbackSent, Failure, FailureKind, TaskCancelled, TaskEvent, TaskExpired, TaskStarted,
};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::TaskRow;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Bounds, Expectation, Log, NewRecord, ReadError,
    Record, Stream, Tail,
};

use super::filter::EventFilter;
use super::hub::{Hub, HubLimits};
use super::subscription::{Remainder, Subscription};

const QUEUES: [&str; 3] = ["default", "mail", "reports"];

fn team(number: u8) -> TeamId {
    TeamId::new(Timestamp(1), u128::from(number))
}

fn partition() -> Partition {
    Partition::new(3).expect("in range")
}

fn task(number: u8) -> TaskId {
    TaskId::new(Timestamp(1), u128::from(number), partition())
}

fn event(kind: u8, id: TaskId) -> TaskEvent {
    let at = Timestamp(1_700_000_000_000);
    match kind % 3 {
        0 => TaskEvent::Started(TaskStarted {
            id,
            attempt: 1,
            at,
            lease_until: at,
        }),
        1 => TaskEvent::Cancelled(TaskCancelled { id, at }),
        _ => TaskEvent::Expired(TaskExpired {
            id,
            attempt: Some(1),
            at,
            failure: Failure {
                kind: FailureKind::Timeout,
                message: "No answer within 30 s".into(),
            },
        }),
    }
}

fn append(log: &MemoryLog, team: &TeamId, queue: &str, event: &TaskEvent) -> StreamSeq {
    let queue = QueueName::parse(queue).expect("a name");
    // The partition that the queue really has: history of a queue is read by it.
    let partition = Partition::of(team, &queue, PartitionCount::default());
    let append = Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject: TaskSubject::event(partition, team, &queue, event.kind()).to_string(),
            event: event.name(),
            actor: "system:worker".into(),
            traceparent: None,
            payload: Bytes::from(event.encode()),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    };
    let appended = log.append(append).now_or_never();
    appended
        .expect("no waiting in memory")
        .expect("stored")
        .seqs[0]
}

/// A log of which every n-th read fails.
struct Flaky {
    log: MemoryLog,
    every: u64,
    reads: Arc<AtomicU64>,
}

fn fails(every: u64, reads: &AtomicU64) -> Result<(), ReadError> {
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
}

struct FlakyTail {
    tail: Box<dyn Tail>,
    every: u64,
    reads: Arc<AtomicU64>,
}

#[async_trait]
impl Tail for FlakyTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        fails(self.every, &self.reads)?;
        self.tail.next_batch(max).await
    }
}

fn limits(queue: usize) -> HubLimits {
    HubLimits {
        queue,
        page_reads: 2,
        ..HubLimits::default()
    }
}

struct Gateway {
    hub: Arc<Hub>,
    stopping: CancellationToken,
}

impl Gateway {
    fn start(log: &Arc<dyn Log>, queue: usize) -> Self {
        let stopping = CancellationToken::new();
        let partitions = PartitionCount::default();
        Self {
            hub: Hub::with_limits(Arc::clone(log), partitions, stopping.clone(), limits(queue)),
            stopping,
        }
    }

    fn subscribe(&self, filter: &EventFilter, after: StreamSeq) -> Subscription {
        let slot = self.hub.take_slot(filter.of_team()).expect("room");
        let hub = Arc::clone(&self.hub);
        Subscription::new(hub, filter.clone(), after, None, slot, Box::new(|| true))
    }
}

/// What a client makes of the text it gets, as a browser would.
#[derive(Default, Debug)]
struct Reader {
    last_id: u64,
    /// Ids of the events seen.
    seen: Vec<u64>,
    names: Vec<String>,
    /// `(after, first_available)`
    gaps: Vec<(u64, u64)>,
    comments: Vec<String>,
}

impl Reader {
    fn take(&mut self, chunk: &[u8]) {
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
                }
            }
        }
    }

    fn rested(&self) -> bool {
        self.comments
            .ends_with(&["heartbeat".into(), "heartbeat".into()])
    }

    /// Reads until two heartbeats in a row: with the clock paused, time passes only when there is nothing else to do, so all that
    /// was to come has come in the 15 seconds between them. The first may be overdue from before.
    async fn read_to_rest(&mut self, subscription: &mut Subscription) -> bool {
        self.comments.clear();
        while !self.rested() {
            match subscription.next().await {
                Some(chunk) => self.take(&chunk),
                None => return false,
            }
        }
        true
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u8,
        team: u8,
        queue: u8,
        kind: u8,
    },
    Connect {
        client: u8,
        gateway: u8,
    },
    Read {
        client: u8,
        chunks: u8,
    },
    Disconnect {
        client: u8,
    },
    Retention {
        count: u8,
    },
    Restart {
        gateway: u8,
    },
    /// Lets the tails of the gateways run.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u8..60, 0_u8..2, 0_u8..3, 0_u8..3)
            .prop_map(|(count, team, queue, kind)| Step::Append { count, team, queue, kind }),
        4 => (0_u8..3, 0_u8..2).prop_map(|(client, gateway)| Step::Connect { client, gateway }),
        6 => (0_u8..3, 1_u8..4).prop_map(|(client, chunks)| Step::Read { client, chunks }),
        2 => (0_u8..3).prop_map(|client| Step::Disconnect { client }),
        1 => (1_u8..80).prop_map(|count| Step::Retention { count }),
        1 => (0_u8..2).prop_map(|gateway| Step::Restart { gateway }),
        3 => Just(Step::Settle),
    ]
}

struct Client {
    filter: EventFilter,
    start: u64,
    reader: Reader,
    subscription: Option<Subscription>,
}

fn filters() -> [EventFilter; 3] {
    let narrowed = |queues: &[&str], types: &[&str], statuses: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        EventFilter::team(team(0))
            .narrowed(&owned(queues), &owned(types), &owned(statuses))
            .expect("a filter")
    };
    [
        narrowed(&[], &[], &[]),
        narrowed(&["mail,reports"], &[], &["processing"]),
        narrowed(&["mail"], &["task.expired", "cancelled"], &[]),
    ]
}

async fn run(steps: Vec<Step>, starts: [u8; 3], every: u64, queue: usize) {
    let memory = MemoryLog::default();
    let log: Arc<dyn Log> = Arc::new(Flaky {
        log: memory.clone(),
        every,
        reads: Arc::default(),
    });
    let mut gateways = [Gateway::start(&log, queue), Gateway::start(&log, queue)];
    let mut written: Vec<(u64, u8, u8, u8)> = Vec::new();
    let mut clients: Vec<Client> = filters()
        .into_iter()
        .zip(starts)
        .map(|(filter, start)| Client {
            filter,
            start: u64::from(start),
            reader: Reader {
                last_id: u64::from(start),
                ..Reader::default()
            },
            subscription: None,
        })
        .collect();
    let last = |memory: &MemoryLog| memory.core().bounds(Stream::Tasks).last.0;
    for step in steps {
        match step {
            Step::Append {
                count,
                team: t,
                queue,
                kind,
            } => {
                for n in 0..count {
                    let event = event(kind, task(n));
                    let seq = append(&memory, &team(t), QUEUES[usize::from(queue)], &event);
                    written.push((seq.0, t, queue, kind));
                }
            }
            Step::Connect { client, gateway } => {
                let client = &mut clients[usize::from(client)];
                // A position that the log has not reached is refused before a subscription is made.
                if client.reader.last_id <= last(&memory) {
                    let after = StreamSeq(client.reader.last_id);
                    let gateway = &gateways[usize::from(gateway)];
                    client.subscription = Some(gateway.subscribe(&client.filter, after));
                }
            }
            Step::Read { client, chunks } => {
                let client = &mut clients[usize::from(client)];
                for _ in 0..chunks {
                    let Some(subscription) = &mut client.subscription else {
                        break;
                    };
                    match subscription.next().await {
                        Some(chunk) => client.reader.take(&chunk),
                        None => client.subscription = None,
                    }
                }
            }
            Step::Disconnect { client } => clients[usize::from(client)].subscription = None,
            Step::Retention { count } => {
                memory.core().drop_first(Stream::Tasks, usize::from(count));
            }
            Step::Restart { gateway } => {
                let gateway = &mut gateways[usize::from(gateway)];
                gateway.stopping.cancel();
                gateway.hub.stopped().await;
                *gateway = Gateway::start(&log, queue);
            }
            Step::Settle => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    // One more event at least: that retention took some is seen by the next one that is left.
    for _ in last(&memory)..60.max(last(&memory) + 1) {
        let seq = append(&memory, &team(0), QUEUES[1], &event(2, task(0)));
        written.push((seq.0, 0, 1, 2));
    }
    let first = memory.core().bounds(Stream::Tasks).first.0;
    for (number, client) in clients.iter_mut().enumerate() {
        let mut rested = false;
        while !rested {
            let mut subscription = match client.subscription.take() {
                Some(subscription) => subscription,
                None => gateways[0].subscribe(&client.filter, StreamSeq(client.reader.last_id)),
            };
            rested = client.reader.read_to_rest(&mut subscription).await;
        }
        let reader = &client.reader;
        for &(_, available) in &reader.gaps {
            assert!(available <= first, "a gap is said only of what is gone");
        }
        let lost = |seq: u64| {
            reader
                .gaps
                .iter()
                .any(|&(after, first)| after < seq && seq < first)
        };
        let expected: Vec<u64> = written
            .iter()
            .filter(|&&(seq, team, queue, kind)| {
                let wanted = match number {
                    0 => true,
                    1 => queue > 0 && kind == 0,
                    _ => queue == 1 && kind > 0,
                };
                team == 0 && wanted && seq > client.start && !lost(seq)
            })
            .map(|&(seq, ..)| seq)
            .collect();
        assert_eq!(reader.seen, expected, "client {number}");
        assert_eq!(
            reader.last_id,
            last(&memory),
            "a resting reader stands at the end"
        );
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_resumed_from_any_id_shows_each_later_event_exactly_once(
        steps in prop::collection::vec(step(), 1..40),
        starts in prop::array::uniform3(0_u8..60),
        every in prop_oneof![Just(0_u64), 4_u64..12],
        queue in 1_usize..24,
    ) {
        block_on(run(steps, starts, every, queue));
    }
}

fn quiet() -> (MemoryLog, Gateway) {
    let memory = MemoryLog::default();
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let gateway = Gateway::start(&log, 4);
    (memory, gateway)
}

async fn opening(subscription: &mut Subscription) {
    assert!(
        subscription
            .next()
            .await
            .expect("an opening")
            .starts_with(b": after=")
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_dropped_and_told_where_to_resume() {
    let (log, gateway) = quiet();
    let filter = EventFilter::team(team(0));
    let mut slow = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut slow).await);
    for n in 0..100 {
        append(&log, &team(0), "default", &event(0, task(n)));
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    while let Some(chunk) = slow.next().await {
        reader.take(&chunk);
    }
    assert_eq!(reader.seen, [1, 2, 3, 4], "what was queued still arrives");
    let told = &reader.comments[reader.comments.len() - 2..];
    assert_eq!(told, ["dropped: this reader is too slow", "resume after=4"]);
    let mut again = gateway.subscribe(&filter, StreamSeq(4));
    assert!(reader.read_to_rest(&mut again).await);
    assert_eq!(reader.seen, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_still_moves_the_place_to_resume_from() {
    let (log, gateway) = quiet();
    let filter = EventFilter::team(team(0));
    let mut subscription = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut subscription).await);
    for n in 0..7 {
        append(&log, &team(1), "default", &event(0, task(n)));
    }
    let before = Instant::now();
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.last_id, 7);
    assert!(reader.seen.is_empty());
    assert!(
        before.elapsed() <= Duration::from_secs(31),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn what_retention_dropped_is_said_before_what_is_left() {
    let (log, gateway) = quiet();
    for n in 0..50 {
        append(&log, &team(0), "default", &event(0, task(n)));
    }
    log.core().drop_first(Stream::Tasks, 30);
    let mut reader = Reader::default();
    let mut subscription = gateway.subscribe(&EventFilter::team(team(0)), StreamSeq(10));
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.names[0], "gap");
    assert_eq!(reader.gaps, [(10, 31)]);
    assert_eq!(reader.seen, (31..=50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_retention_dropped_before_the_tail_read_it_is_said_too() {
    let (log, gateway) = quiet();
    let mut subscription = gateway.subscribe(&EventFilter::team(team(0)), StreamSeq(0));
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut subscription).await);
    for n in 0..3 {
        append(&log, &team(0), "default", &event(0, task(n)));
    }
    log.core().drop_first(Stream::Tasks, 2);
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.gaps, [(0, 3)]);
    assert_eq!(reader.seen, [3]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_while_it_joins_holds_nobody_up() {
    let memory = MemoryLog::default();
    let stuck = Arc::new(Stuck {
        log: memory.clone(),
        released: tokio::sync::Notify::new(),
    });
    let log: Arc<dyn Log> = Arc::clone(&stuck) as _;
    let gateway = Gateway::start(&log, 4);
    let filter = EventFilter::team(team(0));
    let mut stalled = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    opening(&mut stalled).await;
    let silence = stalled.next().await.expect("a heartbeat");
    assert!(silence.starts_with(b": heartbeat"), "it waits for the log");
    stuck.released.notify_waiters();
    // From here on nobody polls it.
    let team = team(0);
    let join = gateway.hub.watch(&team, task(1));
    tokio::time::timeout(Duration::from_secs(60), join)
        .await
        .expect("not held up")
        .expect("joined");
}

/// A log whose bounds are known only once it is released.
struct Stuck {
    log: MemoryLog,
    released: tokio::sync::Notify,
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
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_gets_no_further_event() {
    let (log, gateway) = quiet();
    let valid = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&valid);
    let slot = gateway.hub.take_slot(&team(0)).expect("room");
    let mut subscription = Subscription::new(
        Arc::clone(&gateway.hub),
        EventFilter::team(team(0)),
        StreamSeq(0),
        None,
        slot,
        Box::new(move || asked.load(Ordering::Relaxed)),
    );
    opening(&mut subscription).await;
    valid.store(false, Ordering::Relaxed);
    append(&log, &team(0), "default", &event(0, task(0)));
    let mut reader = Reader::default();
    while let Some(chunk) = subscription.next().await {
        reader.take(&chunk);
    }
    assert!(reader.seen.is_empty());
    assert_eq!(reader.comments, ["the key was revoked", "resume after=0"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_gateway_stops() {
    let (_log, gateway) = quiet();
    let filter = EventFilter::team(team(0));
    let mut subscription = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(gateway.hub.open_streams(), 1);
    gateway.stopping.cancel();
    while let Some(chunk) = subscription.next().await {
        reader.take(&chunk);
    }
    let told = &reader.comments[reader.comments.len() - 2..];
    assert_eq!(told, ["this gateway is stopping", "resume after=0"]);
    drop(subscription);
    gateway.hub.stopped().await;
    assert_eq!(gateway.hub.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_tail_stops_some_time_after_the_last_listener_and_starts_again() {
    let (log, gateway) = quiet();
    let filter = EventFilter::team(team(0));
    let mut reader = Reader::default();
    for round in 0..3_u8 {
        assert_eq!(gateway.hub.position(), None);
        let after = StreamSeq(reader.last_id);
        let mut subscription = gateway.subscribe(&filter, after);
        assert!(reader.read_to_rest(&mut subscription).await);
        append(&log, &team(0), "default", &event(0, task(round)));
        assert!(reader.read_to_rest(&mut subscription).await);
        assert!(gateway.hub.position().is_some());
        drop(subscription);
        append(&log, &team(0), "default", &event(1, task(round)));
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    let mut subscription = gateway.subscribe(&filter, StreamSeq(reader.last_id));
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.seen, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_a_task_ends_once_its_webhook_is_delivered() {
    let (log, gateway) = quiet();
    let row = row_of(&log, true);
    let filter = EventFilter::task(team(0), row.id, Some(row.queue.clone()));
    let slot = gateway.hub.take_slot(&team(0)).expect("room");
    let mut subscription = Subscription::new(
        Arc::clone(&gateway.hub),
        filter,
        StreamSeq(0),
        Some(Remainder::of(&row, StreamSeq(0))),
        slot,
        Box::new(|| true),
    );
    let mut reader = Reader::default();
    append(&log, &team(0), row.queue.as_str(), &event(0, row.id));
    append(&log, &team(0), row.queue.as_str(), &event(0, task(9)));
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.names, ["task.created", "task.started"]);
    append(&log, &team(0), row.queue.as_str(), &event(2, row.id));
    assert!(
        reader.read_to_rest(&mut subscription).await,
        "the webhook is still to come"
    );
    let sent = TaskEvent::CallbackSent(CallbackSent {
        id: row.id,
        attempt: 1,
        at: Timestamp(2),
        status: 200,
    });
    let last = append(&log, &team(0), row.queue.as_str(), &sent);
    assert!(!reader.read_to_rest(&mut subscription).await);
    assert_eq!(
        reader.names[2..],
        ["task.expired", "task.callback_sent", "end"]
    );
    let row = TaskRow::evolve(Some(row), StreamSeq(4), &event(2, task(1)));
    let row = TaskRow::evolve(row, last, &sent).expect("a row");
    assert!(Remainder::of(&row, last).is_empty());
    assert!(!Remainder::of(&row, StreamSeq(4)).is_empty());
}

/// Appends the creation of task 1 and makes the row that a projector would have.
fn row_of(log: &MemoryLog, webhook: bool) -> TaskRow {
    use waybill_domain::event::TaskCreated;
    use waybill_domain::task::{Backoff, Method, Priority};
    let team = team(0);
    let queue = (0..)
        .map(|n| QueueName::parse(&format!("q{n}")).expect("a name"))
        .find(|queue| Partition::of(&team, queue, PartitionCount::default()) == partition())
        .expect("some queue is in that partition");
    let created = TaskEvent::Created(Box::new(TaskCreated {
        id: task(1),
        team: team.clone(),
        queue: queue.clone(),
        url: "https://example.org/".into(),
        method: Method::Post,
        headers: Vec::new(),
        body: Some("secret".into()),
        timeout_ms: 30_000,
        max_wait_ms: 30_000,
        not_before: None,
        max_retries: 3,
        backoff: Backoff::Exponential,
        retry_on: None,
        priority: Priority::default(),
        follow_redirects: false,
        on_complete_url: webhook.then(|| "https://example.org/done".into()),
        idempotency_key: None,
        fingerprint: None,
        at: Timestamp(1),
    }));
    let seq = append(log, &team, queue.as_str(), &created);
    TaskRow::evolve(None, seq, &created).expect("a row")
}

#[tokio::test(start_paused = true)]
async fn a_watch_reports_every_change_after_its_position() {
    let (log, gateway) = quiet();
    append(&log, &team(0), "mail", &event(0, task(1)));
    let mut watch = gateway.hub.watch(&team(0), task(1)).await.expect("room");
    assert_eq!(watch.since(), StreamSeq(1));
    append(&log, &team(0), "mail", &event(0, task(2)));
    append(&log, &team(0), "mail", &event(1, task(1)));
    assert_eq!(watch.changed().await, Some(StreamSeq(3)));
    let deadline = Instant::now() + Duration::from_secs(5);
    let nothing = gateway.hub.wait_for_task(&team(0), task(1), deadline).await;
    assert_eq!(nothing, None);
    gateway.stopping.cancel();
    assert_eq!(watch.changed().await, None);
    assert!(gateway.hub.watch(&team(0), task(1)).await.is_err());
}
