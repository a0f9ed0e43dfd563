//! What is promised about tasks with the same key of a debounce.

use std::time::Duration;

use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{QueueName, TeamId};
use waybill_log::Record;

use super::{Ledger, STORED_LATER};

/// What a task shares with those of which not every one runs.
pub(super) fn key_of(created: &TaskCreated) -> Option<(TeamId, QueueName, String)> {
    let key = created.once.as_ref()?.key().to_owned();
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
        let delay = life.created.once.as_ref().and_then(|once| once.debounce());
        let delay = delay.map_or(0, |debounce| debounce.delay_ms);
        let due = life.accepted.plus(Duration::from_millis(delay));
        let wrong = match event {
            TaskEvent::Started(e) if e.attempt == 1 && sharing[..at].iter().any(waits) => {
                Some("of the tasks in the window of a debounce one starts")
            }
            TaskEvent::Started(e)
                if e.attempt == 1 && self.exact_lengths && record.time.plus(STORED_LATER) < due =>
            {
                Some("a task of a debounce waits for its delay")
            }
            TaskEvent::Cancelled(e) => match e.instead {
                Some(_) if life.started > 0 => Some("a task that was superseded never starts"),
                Some(instead) if instead.task == id || !sharing.contains(&instead.task) => {
                    Some("a superseded task names another one of its debounce")
                }
                Some(_) => {
                    *self.counts.entry("superseded").or_default() += 1;
                    None
                }
                None => None,
            },
            _ => None,
        };
        if let Some(promise) = wrong {
            self.broken(format!(
                "{} {} of {id} breaks: {promise}",
                record.seq, record.event
            ));
        }
    }
}
