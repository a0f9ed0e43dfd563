//! Members of workflows: they start after those that they run after, and are cancelled for them
//! only if they never could.

use waybill_domain::event::TaskEvent;
use waybill_domain::flow::RunAfterMode;
use waybill_domain::id::TaskId;
use waybill_log::Record;

use super::Ledger;

impl Ledger {
    pub(super) fn of_member(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let Some(member) = life.created.member.clone() else {
            return;
        };
        let runs_after = !member.after.is_empty();
        match event {
            TaskEvent::Started(started) if started.attempt == 1 && runs_after => {
                let mut after = member.after.iter();
                let is_well =
                    |other: &TaskId| self.lives.get(other).is_some_and(|life| life.succeeded);
                let may = match member.mode {
                    RunAfterMode::All => after.all(is_well),
                    RunAfterMode::Any => after.any(is_well),
                };
                if may {
                    self.count("released by others");
                } else {
                    self.broken(format!(
                        "{} {id} starts before those that it runs after: {member:?}",
                        record.seq
                    ));
                }
            }
            TaskEvent::Cancelled(end) => {
                let Some(other) = end.predecessor else { return };
                let ended = self.lives.get(&other);
                let ended = ended.is_some_and(|life| life.ended && !life.succeeded);
                if ended && self.never_runs(id) {
                    self.count("cancelled for others");
                } else {
                    self.broken(format!(
                        "{} {id} is cancelled for {other}, and could run: {member:?}",
                        record.seq
                    ));
                }
            }
            TaskEvent::Restated(restated) if restated.member.is_some() => {
                self.count("member restated");
            }
            _ => {}
        }
    }

    /// Whether those that a task runs after have not completed, or never will.
    fn never_runs(&self, id: TaskId) -> bool {
        let Some(member) = self
            .lives
            .get(&id)
            .and_then(|life| life.created.member.as_ref())
        else {
            return false;
        };
        let is_lost = |other: &TaskId| {
            let life = self.lives.get(other);
            life.is_none_or(|life| {
                if life.ended {
                    !life.succeeded
                } else {
                    life.started == 0 && self.never_runs(*other)
                }
            })
        };
        let mut after = member.after.iter();
        match member.mode {
            _ if member.after.is_empty() => false,
            RunAfterMode::All => after.any(is_lost),
            RunAfterMode::Any => after.all(is_lost),
        }
    }
}
