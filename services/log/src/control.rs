//! Events of CONTROL as they are read: workers may write there too, but only what is theirs to say.

use waybill_domain::event::{ControlEvent, DecodeError};

use crate::Record;
use crate::subject::{ControlScope, ControlSubject};

/// Where a worker says that it begins: `control._.worker.<worker>`.
const WORKER: &str = "worker";
/// Where a worker says that a token was used for the first time: `control._.use.<token>`.
const USE: &str = "use";

/// Reads an event of CONTROL.
///
/// # Errors
/// When it is of a kind that is not known here, or is not what may be said at its place: whoever may write for workers decides nothing
/// about rights.
pub fn control_event(record: &Record) -> Result<ControlEvent, DecodeError> {
    if let Some(void) = record.void() {
        return Err(DecodeError::Malformed {
            name: record.event.clone(),
            reason: void.to_string(),
        });
    }
    let event = ControlEvent::decode(&record.event, &record.payload)?;
    let subject = ControlSubject::parse(&record.subject);
    let of_worker = subject.filter(|subject| subject.scope == ControlScope::Global);
    let is_allowed = match of_worker.map(|subject| subject.aggregate) {
        Some(WORKER) => matches!(event, ControlEvent::GatewayStarted(_)),
        Some(USE) => matches!(event, ControlEvent::TokenUsed(_)),
        Some(_) | None => true,
    };
    if is_allowed {
        Ok(event)
    } else {
        Err(DecodeError::Malformed {
            name: record.event.clone(),
            reason: format!("it may not be said on {}", record.subject),
        })
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::event::{GatewayStarted, samples};
    use waybill_domain::time::Timestamp;

    use super::*;
    use crate::StreamSeq;

    fn record(subject: &str, event: &ControlEvent) -> Record {
        Record {
            seq: StreamSeq(1),
            time: Timestamp(1),
            subject: subject.to_owned(),
            event: event.name().to_owned(),
            actor: "system:worker".to_owned(),
            traceparent: None,
            origin: None,
            msg_id: None,
            exact: None,
            payload: event.encode().into(),
        }
    }

    #[test]
    fn where_workers_write_nothing_but_theirs_is_read() {
        let started = ControlEvent::GatewayStarted(GatewayStarted {
            gateway: "0000000000000001".to_owned(),
            version: "1".to_owned(),
            at: Timestamp(1),
        });
        for (subject, allowed) in [
            ("control._.worker.0000000000000001", true),
            ("control._.gateway.0000000000000001", true),
            ("control._.use.tok_1", false),
        ] {
            let read = control_event(&record(subject, &started));
            assert_eq!(read.is_ok(), allowed, "{subject}");
        }
        for event in samples::control_events() {
            let is_start = matches!(event, ControlEvent::GatewayStarted(_));
            let read = control_event(&record("control._.worker.1", &event));
            assert_eq!(read.is_ok(), is_start, "{}", event.name());
            let is_use = matches!(event, ControlEvent::TokenUsed(_));
            let read = control_event(&record("control._.use.tok_1", &event));
            assert_eq!(read.is_ok(), is_use, "{}", event.name());
            assert!(control_event(&record("control.team_1.key.k", &event)).is_ok());
        }
    }
}
