//! What a stream does in each situation, one at a time. The clock is paused: time passes when there is nothing else to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Duration, Instant};
use waybill_domain::event::{CallbackSent, TaskCreated, TaskEvent};
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::partition::Partition;
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::{Backoff, Method, OwnPauses, Priority, RetryBounds, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::TaskSubject;
use waybill_log::{Log, NewRecord, Stream};

use super::stage::{
    Gateway, Reader, Stuck, append, append_record, event, partition, partitions, task, team,
};
use crate::filter::EventFilter;
use crate::subscription::{Remainder, Subscription};

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
            .frame()
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
        reader.take(&chunk.frame());
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
    assert!(
        silence.frame().starts_with(b": heartbeat"),
        "it waits for the log"
    );
    stuck.released.notify_waiters();
    // From here on nobody polls it.
    let team = team(0);
    let join = gateway.hub.watch(&team, task(1));
    tokio::time::timeout(Duration::from_secs(60), join)
        .await
        .expect("not held up")
        .expect("joined");
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
        reader.take(&chunk.frame());
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
        reader.take(&chunk.frame());
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

#[tokio::test(start_paused = true)]
async fn poison_is_left_out_and_what_comes_after_it_is_told() {
    let (log, gateway) = quiet();
    let mut subscription = gateway.subscribe(&EventFilter::team(team(0)), StreamSeq(0));
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut subscription).await);
    let plant = |event: &'static str, partition: u16, payload: &[u8]| {
        let (team, queue) = (team(0), QueueName::default());
        let partition = Partition::new(partition).expect("in range");
        let record = NewRecord {
            subject: TaskSubject::event(partition, &team, &queue, "started").to_string(),
            event,
            actor: String::new(),
            traceparent: None,
            origin: None,
            payload: payload.to_vec().into(),
        };
        append_record(&log, record);
    };
    append(&log, &team(0), "default", &event(0, task(1)));
    let started = event(0, task(1));
    let (name, here) = (started.name(), partition().get());
    plant("", here, &started.encode());
    plant("hello", here, b"x");
    plant(name, here, b"nonsense");
    plant(name, here ^ 1, &started.encode());
    plant("task.paused.v1", here, b"x");
    append(&log, &team(0), "default", &event(0, task(2)));
    assert!(reader.read_to_rest(&mut subscription).await);
    assert_eq!(reader.seen, [1, 7], "live");
    let mut again = Reader::default();
    let mut history = gateway.subscribe(&EventFilter::team(team(0)), StreamSeq(0));
    assert!(again.read_to_rest(&mut history).await);
    assert_eq!(again.seen, [1, 7], "and from the log");
}

/// Appends the creation of task 1 and makes the row that a projector would have.
fn row_of(log: &MemoryLog, webhook: bool) -> TaskRow {
    let team = team(0);
    let queue = (0..)
        .map(|n| QueueName::parse(&format!("q{n}")).expect("a name"))
        .find(|queue| Partition::of(&team, queue, partitions()) == partition())
        .expect("some queue is in that partition");
    let created = created(task(1), queue.clone(), webhook);
    let seq = append(log, &team, queue.as_str(), &created);
    TaskRow::evolve(None, seq, &created).expect("a row")
}

/// The creation of a task of the first team.
pub(super) fn created(id: TaskId, queue: QueueName, webhook: bool) -> TaskEvent {
    TaskEvent::Created(Box::new(TaskCreated {
        id,
        team: team(0),
        queue,
        url: "https://example.org/".into(),
        method: Method::Post,
        headers: Vec::new(),
        body: Some("secret".into()),
        timeout_ms: 30_000,
        max_wait_ms: 30_000,
        not_before: None,
        max_retries: 3,
        backoff: Backoff::Exponential,
        retry_pauses: OwnPauses::default(),
        fairness_key: None,
        fairness_weight: None,
        ordering: None,
        retry_bounds: RetryBounds::default(),
        replay_of: None,
        once: None,
        limits: Vec::new(),
        schedule: None,
        on_rate_limited: None,
        member: None,
        job: None,
        no_capture: false,
        retry_on: None,
        priority: Priority::default(),
        follow_redirects: false,
        on_complete_url: webhook.then(|| "https://example.org/done".into()),
        idempotency_key: None,
        fingerprint: None,
        resolve: waybill_domain::vault::Resolve::default(),
        success: None,
        deadline: None,
        expires_in_ms: None,
        tags: Vec::new(),
        metadata: std::collections::BTreeMap::new(),
        webhook_pauses: Vec::new(),
        max_answer_bytes: None,
        body_encoding: waybill_domain::event::BodyEncoding::Text,
        sealed: None,
        at: Timestamp(1),
        created_by: None,
    }))
}
