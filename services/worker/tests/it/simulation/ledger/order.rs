//! What is promised about tasks with the same ordering key.

use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::task::OnFailure;
use waybill_log::Record;

use super::Ledger;

/// What a task shares with those that run before and after it.
pub(super) fn line_of(created: &TaskCreated) -> Option<(TeamId, QueueName, String)> {
    let key = created.ordering.as_ref()?.key.clone();
    Some((created.team.clone(), created.queue.clone(), key))
}

impl Ledger {
    /// Checks what an event means to the tasks with the same ordering key.
    pub(super) fn in_order(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let Some(line) = line_of(&life.created).and_then(|line| self.lines.get(&line)) else {
            return;
        };
        let at = line.iter().position(|other| *other == id).unwrap_or(0);
        let (before, behind) = (&line[..at], &line[at + 1..]);
        let is_open = |id: &TaskId| self.lives.get(id).is_some_and(|life| !life.ended);
        let is_in_the_way = |id: &TaskId| is_open(id) || self.blocks(id);
        let wrong = match event {
            TaskEvent::Started(_) if before.iter().any(is_in_the_way) => Some(
                "a task starts after the end of those before it with its ordering key, and behind none that blocks",
            ),
            TaskEvent::Started(_) if life.cancelled_after.is_some() => {
                Some("a task that a failure cancels by its ordering key does not start")
            }
            TaskEvent::Cancelled(e) if e.after.is_some() && e.after != life.cancelled_after => {
                Some("a task is cancelled after the one that failed by its ordering key")
            }
            TaskEvent::Dead(_) | TaskEvent::Expired(_) => {
                let cancels_to = match event {
                    TaskEvent::Dead(e) => e.cancels_to,
                    TaskEvent::Expired(e) => e.cancels_to,
                    _ => None,
                };
                let on_failure = life.created.ordering.as_ref().map(|order| order.on_failure);
                let cancels = on_failure == Some(OnFailure::CancelRest);
                let last = cancels_to.unwrap_or_default();
                // One that does a blocking task again comes before those that this one blocks.
                let comes_before = |id: &TaskId| {
                    let old = self.lives.get(id).and_then(|life| life.created.replay_of);
                    old.is_some_and(|old| before.contains(&old) && self.blocks(&old))
                };
                let cancelled = behind.iter().filter(|id| is_open(id) && !comes_before(id));
                let cancelled: Vec<_> = cancelled.copied().collect();
                for id in cancelled {
                    if let Some(life) = self.lives.get_mut(&id).filter(|life| life.seq <= last) {
                        life.cancelled_after.get_or_insert(event.id());
                        *self.counts.entry("cancelled by its line").or_default() += 1;
                    }
                }
                (cancels != cancels_to.is_some() || last >= record.seq).then_some(
                    "a failure says which of those behind it by its ordering key it cancels",
                )
            }
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
