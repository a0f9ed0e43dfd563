//! What is promised about pauses and time limits.

use std::time::Duration;

use waybill_domain::event::TaskEvent;
use waybill_domain::time::Timestamp;
use waybill_log::Record;

use super::Life;

/// How much decisions, messages and scheduling may add to a duration without faults.
const SLACK: Duration = Duration::from_secs(2);
/// How much later than the decision the event that begins a duration may be stored.
pub(super) const STORED_LATER: Duration = Duration::from_millis(50);

impl Life {
    /// The promise about time that this event breaks, if any.
    pub(super) fn length(&self, record: &Record, event: &TaskEvent) -> Option<&'static str> {
        let is_early = |due: Timestamp| record.time.plus(STORED_LATER) < due;
        let is_late = |due: Timestamp| record.time > due.plus(SLACK);
        let length = self.created.expires_in_ms.map(Duration::from_millis);
        let end = length.map(|length| self.accepted.plus(length));
        match event {
            TaskEvent::Started(_) if self.pause_over.is_some_and(is_early) => {
                Some("no attempt before the pause is over")
            }
            // A task with limits may have to wait for them, and a pulled one for a worker.
            TaskEvent::Started(_)
                if self.created.limits.is_empty()
                    && !self.created.is_pulled()
                    && self.pause_over.is_some_and(is_late) =>
            {
                Some("the next attempt when the pause is over")
            }
            TaskEvent::Expired(_) if end.is_none_or(is_early) => {
                Some("no task expires before its time is over")
            }
            _ if end.is_some_and(is_late) && !self.ended => {
                Some("a task ends when its time is over")
            }
            _ => None,
        }
    }

    pub(super) fn keep_time(&mut self, record: &Record, event: &TaskEvent) {
        match event {
            TaskEvent::Started(_) => {
                self.pause_over = None;
            }
            TaskEvent::AttemptFailed(e) => {
                self.pause_over = Some(record.time.plus(e.retry_at.since(e.at)));
            }
            _ => {}
        }
    }
}
