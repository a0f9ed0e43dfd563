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
                    Some(_) => Blocker::RetryPause { until },
                };
                (Some(blocker), before.map(|(_, ahead)| ahead))
            }
            Phase::Ready { .. } => match before {
                Some((task, ahead)) => (Some(Blocker::OrderHead { task }), Some(ahead)),
                None => {
                    let running = Running {
                        task: id,
                        number: task.attempts + 1,
                        kind: CallKind::Attempt,
                    };
                    let compartment = task.compartment();
                    let place = (self.lanes.names(task.lane), task.lane);
                    let most = MAX_AHEAD as usize;
                    let host = (compartment, task.lane);
                    let at_host = self.hosts.ahead(host, task.created, most);
                    let opens = self.hosts.open_until(compartment, now);
                    let blocker = match self.gates.holds(place, now) {
                        _ if at_host.is_some() || opens.is_some() => Some(Blocker::TargetOpen {
                            until: opens.map(|end| now.wall.plus(end.since(now.elapsed))),
                        }),
                        Some(held) => Some(held.blocker(now)),
                        None => slots(Wanted {
                            running,
                            compartment,
                        }),
                    };
                    let ahead = at_host.unwrap_or_else(|| {
                        self.ready.ahead(&task.entry(id), most)
                            + self.gates.ahead(place.0, task.rank(), most)
                    });
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
