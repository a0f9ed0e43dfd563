//! The promises about tasks that workers claim.

use std::collections::BTreeMap;
use std::time::Duration;

use waybill_domain::command::{ClaimedTask, OwnerReply, WorkerReport};
use waybill_domain::event::{FailureKind, TaskEvent};
use waybill_domain::id::TaskId;
use waybill_domain::task::Settled;
use waybill_domain::time::Timestamp;
use waybill_log::Record;

use super::Ledger;

/// How much earlier than the end of its lease an attempt may end, by when its events were stored.
const STORED_LATER: Duration = Duration::from_millis(50);
/// Within this time after the end of its lease a task is given to others.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The claims of a task, according to the log and to its workers.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// How its attempts ended, as far as their workers ended them.
    settled: BTreeMap<u32, Settled>,
    /// What workers have reported of its attempts.
    reported: BTreeMap<u32, Vec<Settled>>,
    /// When the lease of the running attempt was given or extended, by the event and by the server's
    /// clock, and for how long.
    lease: Option<(Timestamp, Timestamp, Duration)>,
}

impl Ledger {
    /// Checks an event of a task, as far as it is about a claim.
    pub(super) fn of_claim(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self
            .lives
            .get_mut(&id)
            .filter(|life| life.created.is_pulled())
        else {
            return;
        };
        let claims = &mut life.claims;
        let has_said = |attempt: u32, what: Settled| {
            let said = claims.reported.get(&attempt);
            said.is_some_and(|said| said.contains(&what))
        };
        let is_reported = |kind: FailureKind| kind == FailureKind::Reported;
        let mut wrong = None;
        let settled = match event {
            TaskEvent::Started(e) => {
                if let Some(claim) = &e.claim {
                    let length = Duration::from_millis(claim.lease_ms.into());
                    claims.lease = Some((e.at, record.time, length));
                } else {
                    wrong = Some("what has no target is started by a claim");
                }
                None
            }
            TaskEvent::Progressed(e) => {
                let length = Duration::from_millis(e.lease_ms.into());
                claims.lease = Some((e.at, record.time, length));
                None
            }
            TaskEvent::Succeeded(e) => Some((e.attempt, Settled::Completed)),
            TaskEvent::AttemptFailed(e) if is_reported(e.failure.kind) => {
                Some((e.attempt, Settled::Failed))
            }
            TaskEvent::Dead(e) if is_reported(e.failure.kind) => Some((e.attempt, Settled::Failed)),
            TaskEvent::Released(e) => Some((e.attempt, Settled::Released)),
            TaskEvent::AttemptFailed(_) | TaskEvent::Dead(_) => {
                let lease = claims.lease;
                wrong = lease.and_then(|lease| self.clocks.judge(record.time, lease));
                None
            }
            _ => None,
        };
        if let Some((attempt, how)) = settled {
            // A claim whose answer nobody waits for is given back without a report.
            if how != Settled::Released && !has_said(attempt, how) {
                wrong = Some("a claim ends as its worker has reported");
            }
            claims.settled.insert(attempt, how);
        }
        if matches!(
            event,
            TaskEvent::AttemptFailed(_) | TaskEvent::Dead(_) | TaskEvent::Released(_)
        ) {
            claims.lease = None;
        }
        if let Some(promise) = wrong {
            self.broken(format!(
                "{} {} of {id} breaks: {promise}",
                record.seq, record.event
            ));
        }
    }

    /// Somebody is told that a worker drains: nothing is given to it until it is told to resume.
    pub(crate) fn drained(&mut self, worker: &str, drains: bool) {
        if drains {
            self.count("drained");
            self.draining.insert(worker.to_owned());
        } else {
            self.draining.remove(worker);
        }
    }

    /// What a claim was given goes back, since its worker drains.
    pub(crate) fn goes_back(&mut self) {
        self.count("goes back");
    }

    /// A claimant was given a task.
    pub(crate) fn given(&mut self, task: &ClaimedTask, worker: &str) {
        self.count("given");
        if self.draining.contains(worker) {
            self.broken(format!(
                "{} was given to {worker} after the answer to its drain",
                task.task
            ));
        }
        let started = self.lives.get(&task.task).map(|life| life.started);
        if started.is_none_or(|started| started < task.attempt) {
            self.broken(format!(
                "{} was given before its attempt {} was stored",
                task.task, task.attempt
            ));
        }
    }

    /// A claimant is about to report.
    pub(crate) fn reports(&mut self, id: TaskId, attempt: u32, what: &WorkerReport) {
        if let (Some(life), Some(how)) = (self.lives.get_mut(&id), what.settles()) {
            life.claims.reported.entry(attempt).or_default().push(how);
        }
    }

    /// A claimant was answered.
    pub(crate) fn told_of_report(
        &mut self,
        id: TaskId,
        attempt: u32,
        what: &WorkerReport,
        reply: &OwnerReply,
    ) {
        self.count(match reply {
            OwnerReply::Reported { .. } => "report taken",
            OwnerReply::Extended { .. } => "lease extended",
            OwnerReply::LeaseLost => "lease lost",
            _ => "report of an ended task",
        });
        let settled = self.lives.get(&id).and_then(|life| {
            let settled = life.claims.settled.get(&attempt);
            settled.copied()
        });
        let taken = settled.is_some() && settled == what.settles();
        let is_right = match reply {
            OwnerReply::Reported { .. } => taken,
            OwnerReply::LeaseLost => !taken,
            _ => true,
        };
        if !is_right {
            self.broken(format!(
                "the report {:?} of attempt {attempt} of {id} was answered {reply:?}, and the log has {settled:?}",
                what.settles()
            ));
        }
    }
}

/// What may be said about leases from the times of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Clocks {
    /// Wall clocks are wrong, and partitions change hands: nothing.
    #[default]
    Wrong,
    /// Wall clocks are right: no lease ends early.
    Right,
    /// One owner serves all the time: leases end exactly when they are over.
    Exact,
}

impl Clocks {
    /// The promise that a lease breaks which ends without a report.
    fn judge(
        self,
        now: Timestamp,
        (given, stored, length): (Timestamp, Timestamp, Duration),
    ) -> Option<&'static str> {
        let is_early = |from: Timestamp| now.plus(STORED_LATER) < from.plus(length);
        match self {
            Self::Wrong => None,
            Self::Right if is_early(given) => Some("no lease ends before it is over"),
            Self::Exact if is_early(stored) => Some("no lease ends before it is over"),
            Self::Exact if now > stored.plus(length).plus(AT_ONCE) => {
                Some("a lease that is over gives its task back within a second")
            }
            Self::Right | Self::Exact => None,
        }
    }
}
