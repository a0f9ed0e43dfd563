//! The lease of a pulled task: how long the worker that has claimed it is waited for.
//!
//! The log says when it was given or extended last, and for how long. The owner measures that length
//! by its monotonic clock; an owner that takes over takes what remains by the wall clock, never more
//! than the whole.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Dispatcher;
use super::open::{Open, Phase};
use crate::event::{
    Failure, FailureKind, Standing, TaskCreated, TaskProgressed, TaskRestated, TaskStarted,
};
use crate::id::TaskId;
use crate::task::pull::LeaseStanding;
use crate::task::retry::Outcome;
use crate::time::{Elapsed, Times, Timestamp};

/// What a task has that workers claim.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pull {
    /// That of the running attempt.
    pub(super) lease: Option<Lease>,
}

impl Pull {
    pub(super) fn of(created: &TaskCreated) -> Option<Box<Self>> {
        created.is_pulled().then(Box::default)
    }

    /// The same, as a restatement describes it.
    pub(super) fn restated(event: &TaskRestated) -> Option<Box<Self>> {
        let mut pull = Self::of(&event.created)?;
        if let Standing::Running { lease, .. } = &event.standing {
            pull.lease = lease.as_ref().map(Lease::from);
        }
        Some(pull)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) worker: Box<str>,
    /// Number of the request that claimed it.
    pub(super) ask: u64,
    /// When it was given or last extended, as stored.
    pub(super) since: Timestamp,
    pub(super) lease_ms: u32,
    /// When it is over, by this owner's monotonic clock. A heartbeat that waits for the log moves it
    /// already, so that no lease is over of which a worker is being told that it has it.
    #[serde(skip)]
    pub(super) end: Elapsed,
    /// Heartbeats that wait for the log.
    #[serde(skip)]
    pub(super) extending: u32,
}

impl Lease {
    fn length(&self) -> Duration {
        Duration::from_millis(self.lease_ms.into())
    }

    pub(super) fn standing(&self) -> LeaseStanding {
        LeaseStanding {
            worker: self.worker.as_ref().into(),
            since: self.since,
            lease_ms: self.lease_ms,
            ask: self.ask,
        }
    }
}

impl From<&LeaseStanding> for Lease {
    fn from(standing: &LeaseStanding) -> Self {
        Self {
            worker: standing.worker.as_str().into(),
            ask: standing.ask,
            since: standing.since,
            lease_ms: standing.lease_ms,
            end: Elapsed::default(),
            extending: 0,
        }
    }
}

impl Open {
    /// Whether workers claim the task.
    pub(super) fn is_pulled(&self) -> bool {
        self.pull.is_some()
    }

    /// The lease of its running attempt.
    pub(super) fn lease(&self) -> Option<&Lease> {
        let running = matches!(self.phase, Phase::Running { .. });
        self.pull.as_ref()?.lease.as_ref().filter(|_| running)
    }

    pub(super) fn lease_mut(&mut self) -> Option<&mut Lease> {
        let running = matches!(self.phase, Phase::Running { .. });
        self.pull.as_mut()?.lease.as_mut().filter(|_| running)
    }

    /// Whether a heartbeat waits for the log.
    pub(super) fn is_being_extended(&self) -> bool {
        self.lease().is_some_and(|lease| lease.extending > 0)
    }

    /// When the task must be looked at because of its lease: when that is over, or at once if nobody
    /// is to go on with it.
    pub(super) fn lease_alarm(&self) -> Option<Elapsed> {
        let lease = self.lease()?;
        Some(match self.cancel_requested {
            Some(_) => Elapsed::default(),
            None => lease.end,
        })
    }

    /// Whether the lease of the running attempt is over.
    pub(super) fn has_lost_its_lease(&self, now: Times) -> bool {
        self.lease().is_some_and(|lease| lease.end <= now.elapsed)
    }

    /// Applies a claim; `at` as for [`Open::started`].
    pub(super) fn claimed(&mut self, event: &TaskStarted, at: Option<Elapsed>) {
        let (Some(pull), Some(claim)) = (&mut self.pull, &event.claim) else {
            return;
        };
        let mut lease = Lease {
            worker: claim.worker.as_str().into(),
            ask: claim.ask,
            since: event.at,
            lease_ms: claim.lease_ms,
            end: Elapsed::default(),
            extending: 0,
        };
        if let Some(at) = at {
            lease.end = at.plus(lease.length());
        }
        pull.lease = Some(lease);
    }

    /// Applies a heartbeat; `at` as for [`Open::started`].
    pub(super) fn progressed(&mut self, event: &TaskProgressed, at: Option<Elapsed>) {
        let Some(lease) = self.lease_mut() else {
            return;
        };
        (lease.since, lease.lease_ms) = (event.at, event.lease_ms);
        lease.extending = lease.extending.saturating_sub(1);
        if let Some(at) = at.filter(|_| lease.extending == 0) {
            lease.end = at.plus(lease.length());
        }
    }

    /// Nobody holds it any more.
    pub(super) fn drop_lease(&mut self) {
        if let Some(pull) = &mut self.pull {
            pull.lease = None;
        }
    }

    /// Converts the dates in the log to the clock of an owner that takes over.
    pub(super) fn place_lease(&mut self, now: Times) {
        if let Some(lease) = self.lease_mut() {
            lease.end = now.end_of(lease.since, lease.length());
        }
    }

    /// The length of a lease that begins now: as wanted, within the time that the task has left.
    pub(super) fn lease_within(&self, wanted_ms: u32, now: Times) -> u32 {
        let left = self.time_left(now).map(|left| left.as_millis());
        let left = left.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX));
        wanted_ms.min(left)
    }
}

impl Dispatcher {
    /// What becomes of a lease that a former owner gave, or that this process gave before.
    pub(super) fn take_over_lease(&mut self, id: TaskId, attempt: u32, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        match task.lease().filter(|_| task.has_lost_its_lease(now)) {
            Some(lease) if task.cancel_requested.is_none() => {
                let outcome = Outcome::Failed(over_without_owner(lease));
                self.attempt_ended(id, attempt, outcome, now);
            }
            _ => self.arm(id),
        }
    }

    /// Ends an attempt whose lease is over, or with which nobody is to go on.
    pub(super) fn look_at_lease(&mut self, id: TaskId, attempt: u32, now: Times) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let Some(lease) = task.lease() else { return };
        if task.cancel_requested.is_some() {
            self.attempt_released(id, attempt, now);
        } else if task.has_lost_its_lease(now) {
            let outcome = Outcome::Failed(over(lease));
            self.attempt_ended(id, attempt, outcome, now);
        }
    }
}

/// The failure of an attempt whose lease was over.
fn over(lease: &Lease) -> Failure {
    Failure {
        kind: FailureKind::LeaseExpired,
        message: format!(
            "The lease of worker {:?} was over before it reported anything",
            lease.worker
        ),
    }
}

/// The same, found by an owner that takes over: heartbeats of the worker may have found nobody, so it
/// is no failure of the worker's.
fn over_without_owner(lease: &Lease) -> Failure {
    Failure {
        kind: FailureKind::WorkerLost,
        message: format!(
            "The lease of worker {:?} was over when the partition got a new owner; its heartbeats may have found none",
            lease.worker
        ),
    }
}
