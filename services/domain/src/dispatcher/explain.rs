//! Why a task does not run: the same order of questions by which it would be started.

use super::Dispatcher;
use super::action::{CallKind, Running, Wanted};
use super::gates::HeldBy;
use super::open::{Open, Phase};
use crate::command::{Blocker, Explained, MAX_AHEAD};
use crate::id::{TaskId, TeamId};
use crate::time::{Times, Timestamp};

impl Dispatcher {
    /// Why a task of the team does not run; `None` if it is not open here. `slots` tells why there
    /// is no slot for a call, if that is so.
    #[must_use]
    pub fn explain(
        &self,
        id: TaskId,
        team: &TeamId,
        now: Times,
        slots: impl FnOnce(Wanted) -> Option<Blocker>,
    ) -> Option<Explained> {
        let task = self.tasks.get(&id)?;
        if self.lanes.names(task.lane).0 != *team {
            return None;
        }
        let before = task.line().and_then(|line| {
            let head = self.orders.head(line).filter(|head| *head != id)?;
            let ahead = self.orders.ahead(line, task.created, MAX_AHEAD as usize);
            Some((head, ahead))
        });
        // It cannot start before the one that it waits for.
        let not_before = |own: Option<Timestamp>| {
            let head = before.and_then(|(head, _)| self.tasks.get(&head));
            own.max(head.and_then(|head| head.waits_until(now)))
        };
        let waits = task.waits_until(now);
        let (blocker, ahead) = match task.phase {
            Phase::Ended { .. } => return None,
            _ if task.busy || task.is_to_be_cancelled() => (Some(Blocker::BeingStored), None),
            Phase::Running { .. } => (None, None),
            Phase::Waiting { until, from, .. } => {
                let until = waits.unwrap_or(until);
                let blocker = match from {
                    None => Blocker::NotDue { until },
                    Some(_) if task.is_in_window() => Blocker::Debounced { until },
                    Some(_) => Blocker::RetryPause { until },
                };
                (Some(blocker), before.map(|(_, ahead)| ahead))
            }
            Phase::Ready { .. } => match (before, self.before_by_key(id, task, MAX_AHEAD as usize))
            {
                (Some((task, ahead)), _) => (Some(Blocker::OrderHead { task }), Some(ahead)),
                (None, Some((task, ahead))) => (Some(Blocker::Singleton { task }), Some(ahead)),
                (None, None) => {
                    let running = Running {
                        task: id,
                        number: task.attempts + 1,
                        kind: CallKind::Attempt,
                    };
                    let compartment = task.compartment();
                    let place = (self.lanes.names(task.lane), task.lane);
                    let blocker = match self.gates.holds(place, now) {
                        Some(held) => Some(held.blocker(now)),
                        None => slots(Wanted {
                            running,
                            compartment,
                        }),
                    };
                    let most = MAX_AHEAD as usize;
                    let ahead = self.ready.ahead(&task.entry(id), most)
                        + self.gates.ahead(place.0, task.rank(), most);
                    (
                        Some(blocker.unwrap_or(Blocker::Turn)),
                        Some(ahead.min(most)),
                    )
                }
            },
        };
        Some(Explained {
            not_before: blocker.and_then(|blocker| not_before(waits.max(blocker.until()))),
            blocker,
            ahead: ahead.and_then(|ahead| u32::try_from(ahead).ok()),
        })
    }
}

impl HeldBy {
    fn blocker(self, now: Times) -> Blocker {
        match self {
            Self::Pause(until) => Blocker::QueuePaused { until },
            Self::Concurrency => Blocker::QueueConcurrency,
            Self::Rate(length) => Blocker::QueueRate {
                until: now.wall.plus(length),
            },
        }
    }
}

impl Open {
    /// When its delay or pause is over, if it has one.
    fn waits_until(&self, now: Times) -> Option<Timestamp> {
        match self.phase {
            Phase::Waiting { until, from, wake } => Some(match from {
                None => until,
                Some(_) => now.wall.plus(wake.since(now.elapsed)),
            }),
            Phase::Ready { .. } | Phase::Running { .. } | Phase::Ended { .. } => None,
        }
    }
}
