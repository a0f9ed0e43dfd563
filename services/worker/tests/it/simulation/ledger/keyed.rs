//! What is promised about tasks with the same key of a debounce, a singleton or a dedup.

use std::time::Duration;

use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::once::{InsteadReason, Once};
use waybill_log::Record;

use super::lengths::STORED_LATER;
use super::{Ledger, Life};

/// What a task shares with those of which not every one runs.
pub(super) fn key_of(created: &TaskCreated) -> Option<(TeamId, QueueName, String)> {
    let once = created.once.as_ref()?;
    let kind = match &**once {
        Once::Debounce(_) => "debounce",
        Once::Singleton(_) => "singleton",
        Once::Dedup(_) => "dedup",
    };
    let key = format!("{kind} {}", once.key());
    Some((created.team.clone(), created.queue.clone(), key))
}

impl Ledger {
    /// Checks what an event means to the tasks with the same key.
    pub(super) fn in_window(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let Some(key) = key_of(&life.created) else {
            return;
        };
        let sharing = self.windows.get(&key).map_or(&[][..], Vec::as_slice);
        let at = sharing.iter().position(|other| *other == id).unwrap_or(0);
        let waits = |id| {
            let life = self.lives.get(id);
            life.is_some_and(|life| life.started == 0 && !life.ended)
        };
        let runs = |other| {
            let life = self.lives.get(other);
            *other != id && life.is_some_and(|life| life.started > 0 && !life.ended)
        };
        let place = |id| sharing.iter().position(|other| *other == id);
        let debounce = life.created.once.as_ref().and_then(|once| once.debounce());
        let is_single = life
            .created
            .once
            .as_ref()
            .is_some_and(|once| once.singleton().is_some());
        let came = life.created.at;
        // It ran, or runs, and nobody asked for its cancellation.
        let is_duplicate = |other| {
            self.lives.get(other).is_some_and(|other| {
                let dedup = other.created.once.as_ref().and_then(|once| once.dedup());
                let window = dedup.map_or(0, |dedup| dedup.window_ms);
                let within = came.since(other.created.at) < Duration::from_millis(window);
                let ran = other.started > 0 && (!other.ended || other.succeeded);
                within && ran && !other.cancel_requested
            })
        };
        let is_first = matches!(event, TaskEvent::Started(e) if e.attempt == 1);
        // One that others gave way to may be due earlier: the first of them waits no longer than it may.
        let has_started = |id| self.lives.get(id).is_some_and(|life| life.started > 0);
        let opens_window = is_first && sharing[..at].last().is_none_or(has_started);
        let wrong = match (event, debounce) {
            (TaskEvent::Started(_), Some(_)) if is_first && sharing[..at].iter().any(waits) => {
                Some("of the tasks in the window of a debounce one starts")
            }
            (TaskEvent::Started(_), Some(debounce)) if opens_window && self.exact_lengths => {
                // It counts from when the gateway took the task, which is a little before the log did.
                let from = life.accepted.min(came);
                let due = from.plus(Duration::from_millis(debounce.delay_ms));
                (record.time.plus(STORED_LATER) < due)
                    .then_some("a task waits for the delay of its debounce")
            }
            (TaskEvent::Started(_), None) if is_single && sharing.iter().any(runs) => {
                Some("of the tasks of a singleton one runs at a time")
            }
            (TaskEvent::Started(_), None) if is_first && sharing[..at].iter().any(is_duplicate) => {
                Some("no duplicate starts within the window of a dedup")
            }
            (TaskEvent::Cancelled(e), _) => match e.instead {
                None => None,
                Some(instead) => {
                    *self.counts.entry("gave way").or_default() += 1;
                    let other = place(instead.task);
                    let right = match instead.reason {
                        InsteadReason::Debounced => other.is_some_and(|other| other != at),
                        InsteadReason::Skipped | InsteadReason::Duplicate => {
                            other.is_some_and(|other| other < at)
                        }
                        InsteadReason::Replaced | InsteadReason::Refreshed => {
                            other.is_some_and(|other| other > at)
                        }
                    };
                    let may_have_started = instead.reason == InsteadReason::Replaced;
                    (!right || (life.started > 0 && !may_have_started)).then_some(
                        "a task that gives way by its key names the right one and never starts",
                    )
                }
            },
            _ => None,
        };
        if let Some(promise) = wrong {
            let others = sharing.iter().filter_map(|id| self.lives.get(id));
            let others: Vec<_> = others.map(told).collect();
            self.broken(format!(
                "{} {} of {id} breaks: {promise}; the tasks with its key:\n    {}",
                record.seq,
                record.event,
                others.join("\n    ")
            ));
        }
    }
}

/// How a task stands, for whoever reads why a history failed.
fn told(life: &Life) -> String {
    format!(
        "{} created at {} ({}), started {} times, ended: {}, succeeded: {}, to be cancelled: {}, {:?}",
        life.created.id,
        life.created.at,
        life.seq,
        life.started,
        life.ended,
        life.succeeded,
        life.cancel_requested,
        life.created.once
    )
}
