//! Tags and metadata in every event, wherever a stream begins. The clock is paused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::time::Instant;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::QueueName;
use waybill_domain::seq::StreamSeq;
use waybill_log::Log;
use waybill_log::memory::MemoryLog;

use super::behaviour::created;
use super::stage::{Gateway, Reader, append, event, task, team};
use crate::filter::EventFilter;

fn start() -> (MemoryLog, Gateway) {
    let memory = MemoryLog::default();
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let gateway = Gateway::start(&log, 64);
    (memory, gateway)
}

fn labelled(number: u8) -> TaskEvent {
    let mut event = created(task(number), QueueName::default(), false);
    if let TaskEvent::Created(created) = &mut event {
        created.tags = vec!["invoices".into()];
        created.metadata = [("order".to_owned(), number.to_string())].into();
    }
    event
}

fn labels(told: &Value) -> (&Value, &Value) {
    (&told["tags"], &told["metadata"])
}

#[tokio::test(start_paused = true)]
async fn events_carry_what_their_creation_brought() {
    let (log, gateway) = start();
    let filter = EventFilter::team(team(0));
    let mut live = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut live).await);
    append(&log, &team(0), "default", &labelled(1));
    append(&log, &team(0), "default", &event(0, task(1)));
    append(&log, &team(0), "default", &event(1, task(1)));
    assert!(reader.read_to_rest(&mut live).await);
    assert_eq!(reader.seen, [1, 2, 3]);
    for told in &reader.told {
        assert_eq!(
            labels(told),
            (&json!(["invoices"]), &json!({"order": "1"})),
            "{told}"
        );
        assert!(told.get("missing").is_none());
    }
    // The same, for a stream that resumes in the middle: the gateway remembers.
    let mut resumed = gateway.subscribe(&filter, StreamSeq(1));
    let mut again = Reader::default();
    assert!(again.read_to_rest(&mut resumed).await);
    assert_eq!(again.told, reader.told[1..]);
    assert_eq!(gateway.read_model.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn who_joins_in_the_middle_of_a_task_is_told_by_the_read_model() {
    let (log, gateway) = start();
    append(&log, &team(0), "default", &labelled(1));
    for kind in [0, 0, 0] {
        append(&log, &team(0), "default", &event(kind, task(1)));
    }
    let filter = EventFilter::team(team(0));
    let mut resumed = gateway.subscribe(&filter, StreamSeq(1));
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut resumed).await);
    // Live, and of a task that nobody has asked about.
    append(&log, &team(0), "default", &event(0, task(2)));
    append(&log, &team(0), "default", &event(1, task(2)));
    append(&log, &team(0), "default", &event(1, task(1)));
    assert!(reader.read_to_rest(&mut resumed).await);
    assert_eq!(reader.seen, [2, 3, 4, 5, 6, 7]);
    for told in &reader.told {
        let own = json!({"task": told["taskId"]});
        assert_eq!(labels(told), (&json!(["asked"]), &own), "{told}");
    }
    let asked = gateway.read_model.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 2, "once for each task");
    // Who only waits for a change costs no question.
    append(&log, &team(1), "default", &event(0, task(3)));
    let mut watch = gateway.hub.watch(&team(1), task(3)).await.expect("room");
    append(&log, &team(1), "default", &event(1, task(3)));
    assert!(watch.changed().await.is_some());
    assert_eq!(gateway.read_model.asked.load(Ordering::Relaxed), asked);
}

#[tokio::test(start_paused = true)]
async fn without_the_read_model_events_go_on_and_say_what_is_missing() {
    let (log, gateway) = start();
    gateway.read_model.is_silent.store(true, Ordering::Relaxed);
    let filter = EventFilter::team(team(0));
    let mut live = gateway.subscribe(&filter, StreamSeq(0)).at_the_end();
    let mut reader = Reader::default();
    assert!(reader.read_to_rest(&mut live).await);
    let began = Instant::now();
    for number in 0..20 {
        append(&log, &team(0), "default", &event(0, task(number)));
    }
    append(&log, &team(0), "default", &labelled(30));
    while reader.seen.len() < 21 {
        let chunk = live.next().await.expect("more to come");
        reader.take(&chunk.frame());
    }
    let took = began.elapsed();
    assert!(took.as_secs() < 3, "one wait for all of them: {took:?}");
    for told in &reader.told[..20] {
        assert_eq!(told["missing"], json!(["tags", "metadata"]), "{told}");
    }
    assert_eq!(reader.told[20]["metadata"], json!({"order": "30"}));
}
