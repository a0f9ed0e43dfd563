//! What the ledger knows about hosts that fail: after a host has become ill by its rule, nothing is
//! started there but what was decided before, and one probe at a time after its pause.

use std::collections::BTreeMap;
use std::time::Duration;

use waybill_domain::dispatcher::{HostRecord, Reading};
use waybill_domain::event::TaskEvent;
use waybill_domain::health::HealthRule;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::{Record, StreamSeq};

use super::Ledger;

/// How far the times in events of one process may be apart from those of another.
const APART: Duration = Duration::from_millis(5);

/// The host of all tasks, as each partition sees it for each team.
#[derive(Default)]
pub(super) struct Hosts {
    /// The rule, and how many attempts a worker makes at a time.
    rule: Option<(HealthRule, usize)>,
    seen: BTreeMap<(Partition, TeamId), Seen>,
}

#[derive(Default)]
struct Seen {
    record: Option<HostRecord>,
    /// The last failure that was stored.
    failure: StreamSeq,
    /// When it was stored, by the clock of the log.
    failed: Timestamp,
    /// Since when the owner knows of it; `None`: the log has not answered yet.
    known: Option<Timestamp>,
    /// Running attempts, and whether each is a probe.
    running: BTreeMap<TaskId, bool>,
    /// Starts that were stored since the host is ill, and are no probes.
    after: usize,
}

impl Ledger {
    pub(crate) fn judges_hosts(&mut self, rule: HealthRule, slots: usize) {
        self.hosts.rule = Some((rule, slots));
    }

    /// A worker has read everything up to here, so it has decided nothing before.
    pub(super) fn hosts_of_new_owner(&mut self, partition: Partition, now: Timestamp) {
        let Some((_, slots)) = self.hosts.rule else {
            return;
        };
        let mine = self.hosts.seen.iter_mut();
        for (_, seen) in mine.filter(|((of, _), _)| *of == partition) {
            seen.after = slots;
            seen.known.get_or_insert(now);
        }
    }

    /// A worker was told that its events are stored. Until then they have no effect on what it decides.
    pub(crate) fn acknowledged(&mut self, seqs: &[StreamSeq], now: Timestamp) {
        for seen in self.hosts.seen.values_mut() {
            if seqs.contains(&seen.failure) {
                seen.known.get_or_insert(now);
            }
        }
    }

    pub(super) fn at_host(&mut self, record: &Record, event: &TaskEvent) {
        let Some((rule, slots)) = self.hosts.rule else {
            return;
        };
        let id = event.id();
        // A pulled task has no host.
        let called = self.lives.get(&id).filter(|life| !life.created.is_pulled());
        let Some(team) = called.map(|life| life.created.team.clone()) else {
            return;
        };
        let seen = self.hosts.seen.entry((id.partition(), team)).or_default();
        let ill = seen.record.filter(|record| record.is_ill(&rule));
        if let TaskEvent::Started(started) = event {
            let others = seen.running.values().any(|probe| *probe);
            let failed = seen.failed;
            let knew = ill.is_some() && seen.known.is_some_and(|since| since <= started.at);
            seen.running.insert(id, started.probe);
            if !started.probe {
                // What was decided before the owner knew of the last failure may still start.
                seen.after += usize::from(knew);
                if knew && seen.after > slots {
                    self.broken(format!("{} starts at a host that is open", record.seq));
                }
                return;
            }
            self.count("probe");
            if others {
                self.broken(format!("{} is a second probe at a time", record.seq));
            }
            // A failure that the owner did not know of may have begun a new pause. The pause is a length: a clock that was set
            // back meanwhile does not make it longer.
            if let Some(ill) = ill.filter(|_| knew) {
                let pause = rule.pause(ill.probes);
                let is_early = started.at.plus(APART) < ill.last.plus(pause);
                if is_early && record.time < failed.plus(pause) {
                    self.broken(format!(
                        "{} is a probe before the pause is over",
                        record.seq
                    ));
                }
            }
            return;
        }
        let is_end = matches!(
            event,
            TaskEvent::AttemptFailed(_)
                | TaskEvent::Released(_)
                | TaskEvent::Succeeded(_)
                | TaskEvent::Dead(_)
                | TaskEvent::Cancelled(_)
                | TaskEvent::Expired(_)
        );
        if !is_end {
            return;
        }
        if let Some(probe) = seen.running.remove(&id)
            && let Some(reading) = Reading::of(event)
        {
            seen.record = HostRecord::after(seen.record, reading, probe, event.at());
            if reading != Reading::Well {
                (seen.failure, seen.failed, seen.known) = (record.seq, record.time, None);
            }
        }
        let is_ill = seen.record.is_some_and(|record| record.is_ill(&rule));
        let opens = is_ill && ill.is_none();
        if opens || !is_ill {
            // What was decided before the owner knows of it may still be stored.
            seen.after = 0;
        }
        if opens {
            self.count("opened");
        }
    }
}
