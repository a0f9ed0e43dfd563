//! Reads events of CONTROL, each by itself, and compares it with the subject that it is stored on.
//!
//! Workers may write to CONTROL too, but only on subjects of their own. Since an event counts only
//! on its own subject, a worker cannot decide anything about access.

use waybill_domain::event::ControlEvent;

use crate::quarantine::{Poison, Reason, Unreadable};
use crate::subject::{ControlScope, ControlSubject, of_control};
use crate::{Log, MAX_BATCH, ReadError, Record, Stream, StreamSeq};

/// Aggregate of the subject on which a worker announces its start: `control._.worker.<worker>`.
const WORKER: &str = "worker";

/// Reads a record of CONTROL and checks that its event belongs on its subject.
///
/// # Errors
/// If the record does not count.
pub fn control_event(record: &Record) -> Result<ControlEvent, Unreadable> {
    if let Some(void) = record.void() {
        return Err(Poison::new(Reason::NotSigned, void.to_string()).into());
    }
    let event =
        ControlEvent::decode(&record.event, &record.payload).map_err(Unreadable::undecoded)?;
    let own = of_control(&event)
        .map_err(|error| Poison::new(Reason::Malformed, format!("{}: {error}", event.name())))?;
    if record.subject == own || is_start_of_worker(&record.subject, &event) {
        return Ok(event);
    }
    Err(Poison::misplaced(record, &own).into())
}

/// Whether a worker announces its start: by the same event as a gateway, on a subject that only
/// workers write to.
fn is_start_of_worker(subject: &str, event: &ControlEvent) -> bool {
    let (ControlEvent::GatewayStarted(started), Some(subject)) =
        (event, ControlSubject::parse(subject))
    else {
        return false;
    };
    subject.scope == ControlScope::Global
        && subject.aggregate == WORKER
        && subject.id == started.gateway
}

/// The last event that counts among those whose subject matches a filter of CONTROL. Later records
/// that do not count are skipped.
///
/// # Errors
/// When the log does not answer.
pub async fn last_control_event(
    log: &dyn Log,
    filter: &str,
) -> Result<Option<(Record, ControlEvent)>, ReadError> {
    let Some(last) = log.last(Stream::Control, filter).await? else {
        return Ok(None);
    };
    let end = last.seq;
    if let Ok(event) = control_event(&last) {
        return Ok(Some((last, event)));
    }
    let filters = [filter.to_owned()];
    let (mut from, mut found) = (StreamSeq(1), None);
    loop {
        let page = log
            .range(Stream::Control, &filters, from, end, MAX_BATCH)
            .await?;
        let is_last = page.len() < MAX_BATCH;
        from = page.last().map_or(from, |record| record.seq.next());
        let good = |record| control_event(&record).ok().map(|event| (record, event));
        found = page.into_iter().filter_map(good).last().or(found);
        if is_last {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::event::{Boundary, samples};
    use waybill_domain::time::Timestamp;

    use super::*;
    use crate::quarantine::Closes;

    fn record(subject: &str, event: &ControlEvent) -> Record {
        Record {
            seq: StreamSeq(1),
            follows: StreamSeq(0),
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

    fn own(event: &ControlEvent) -> Record {
        record(&of_control(event).expect("tokens"), event)
    }

    #[test]
    fn an_event_counts_on_its_own_subject_and_nowhere_else() {
        let events = samples::control_events();
        for event in &events {
            assert_eq!(
                control_event(&own(event)).as_ref(),
                Ok(event),
                "{}",
                event.name()
            );
            for other in &events {
                let at = of_control(other).expect("tokens");
                if at != of_control(event).expect("tokens") {
                    let read = control_event(&record(&at, event)).map_err(|e| e.reason());
                    assert_eq!(read, Err(Reason::Misplaced), "{} on {at}", event.name());
                }
            }
        }
    }

    #[test]
    fn workers_say_that_they_begin_and_nothing_else() {
        for event in samples::control_events() {
            let place = match &event {
                ControlEvent::GatewayStarted(e) => format!("control._.worker.{}", e.gateway),
                _ => format!("control._.worker.{}", event.aggregate().1),
            };
            let is_start = matches!(event, ControlEvent::GatewayStarted(_));
            let read = control_event(&record(&place, &event));
            assert_eq!(read.is_ok(), is_start, "{}", event.name());
        }
    }

    /// What a record with that name and an unreadable payload closes, where an event stands.
    fn closed_by(event: &ControlEvent, name: &str) -> Option<Closes> {
        let mut broken = own(event);
        broken.event = name.to_owned();
        broken.payload = vec![0xc1].into();
        let why = control_event(&broken).expect_err("unreadable");
        Closes::of(&broken, &why)
    }

    #[test]
    fn only_what_may_take_rights_away_closes_what_it_names() {
        for event in samples::control_events() {
            let name = event.name();
            let closes = closed_by(&event, name);
            let is_of_vault = matches!(event, ControlEvent::VaultKekIntroduced(_));
            assert_eq!(
                closes.is_some(),
                event.takes_away() && !is_of_vault,
                "{name}"
            );
            if let (Some(Closes::Team(team)), Some(of)) = (&closes, event.team()) {
                assert_eq!(*team, of.base(), "{name}");
            }
        }
    }

    #[test]
    fn a_newer_event_closes_what_it_names_and_nothing_elsewhere() {
        for event in samples::control_events() {
            let (thing, _) = event.name().split_once('.').expect("a dot");
            let newer = format!("{thing}.changed_somehow.v7");
            let is_in_place = event.aggregate().0 == thing;
            // What is done to many tasks, or at times, takes no right away.
            let boundary = event.boundary();
            let is_boundary = boundary
                .is_some_and(|of| !matches!(of, Boundary::Operation(_) | Boundary::Schedule(_)));
            assert_eq!(
                closed_by(&event, &newer).is_some(),
                is_in_place && is_boundary,
                "{newer}"
            );
            assert_eq!(closed_by(&event, "nothing.changed.v7"), None);
            assert_eq!(closed_by(&event, "key"), None, "no name of an event");
        }
    }
}
