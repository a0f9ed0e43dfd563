//! Shared by the unit tests of this crate.

use waybill_domain::event::ControlEvent;
use waybill_log::memory::MemoryLog;
use waybill_log::subject::of_control;
use waybill_log::{Append, Atomicity, Expectation, Log, NewRecord, Stream};

/// Stores an event of CONTROL, as a gateway does.
pub(crate) async fn store(log: &MemoryLog, event: &ControlEvent) {
    put(log, event, event.encode().into()).await;
}

/// Stores something unreadable in its place.
pub(crate) async fn plant(log: &MemoryLog, in_place_of: &ControlEvent) {
    put(log, in_place_of, vec![0xc1].into()).await;
}

async fn put(log: &MemoryLog, event: &ControlEvent, payload: bytes::Bytes) {
    let append = Append {
        stream: Stream::Control,
        records: vec![NewRecord {
            subject: of_control(event).expect("tokens"),
            event: event.name(),
            actor: "user:u".into(),
            traceparent: None,
            origin: None,
            payload,
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    log.append(append).await.expect("stored");
}
