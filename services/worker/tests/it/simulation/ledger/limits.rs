//! The promise of limits that tasks share: never more attempts of a key run than it allows, in the order
//! of the log, whatever partitions they are in.

use waybill_domain::event::TaskEvent;
use waybill_log::Record;

use super::Ledger;

impl Ledger {
    pub(super) fn within_limits(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let team = life.created.team.clone();
        let limits = life.created.limits.clone();
        for limit in limits {
            let key = limit.key.as_str().to_owned();
            let running = self.limited.entry((team.clone(), limit.key)).or_default();
            match event {
                TaskEvent::Started(_) => {
                    let waited = !running.is_empty();
                    running.insert(id);
                    let (runs, most) = (running.len(), limit.concurrency.unwrap_or(u32::MAX));
                    if runs > most as usize {
                        self.broken(format!(
                            "{}: {runs} of {key} run, and {most} may",
                            record.seq
                        ));
                    }
                    self.count("started within limits");
                    if waited {
                        self.count("started beside others of its key");
                    }
                }
                TaskEvent::AttemptFailed(_)
                | TaskEvent::Released(_)
                | TaskEvent::Succeeded(_)
                | TaskEvent::Dead(_)
                | TaskEvent::Cancelled(_)
                | TaskEvent::Expired(_) => {
                    running.remove(&id);
                }
                _ => {}
            }
        }
    }
}
