//! Why a task does not run: the same order of questions by which it would be started.

use super::Dispatcher;
use super::action::{CallKind, Running, Wanted};
use super::gates::HeldBy;
use super::keys::LimitedBy;
use super::limited::claimant;
use super::open::{Open, Phase};
use crate::command::{Blocker, Explained, MAX_AHEAD};
use crate::id::{LimitKey, TaskId, TeamId};
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
        let explained = self.explain_counting(MAX_AHEAD, (id, team), now, slots)?;
        let (waits, known_since) = self.waited(id, now.wall);
        Some(Explained {
            waits,
            known_since,
            ..explained
        })
    }

    /// What keeps a task of the team from running, and the limit key if that is one, without counting
    /// those ahead of it; `None` if it is not open here, and inside of it if it runs.
    #[must_use]
    pub fn blocker(
        &self,
        id: TaskId,
        team: &TeamId,
        now: Times,
        slots: impl FnOnce(Wanted) -> Option<Blocker>,
    ) -> Option<(Option<Blocker>, Option<LimitKey>)> {
        let explained = self.explain_counting(0, (id, team), now, slots)?;
        Some((explained.blocker, explained.limit))
    }

    fn explain_counting(
        &self,
        most: u32,
        (id, team): (TaskId, &TeamId),
        now: Times,
        slots: impl FnOnce(Wanted) -> Option<Blocker>,
    ) -> Option<Explained> {
        let most = most as usize;
        let task = self.tasks.get(&id)?;
        if self.lanes.names(task.lane).0 != *team {
            return None;
        }
        let before = task.line().and_then(|line| {
            let head = self.orders.head(line).filter(|head| *head != id)?;
            let ahead = self.orders.ahead(line, task.place_in_line(), most);
            Some((head, ahead))
        });
        // It cannot start before the one that it waits for.
        let not_before = |own: Option<Timestamp>| {
            let head = before.and_then(|(head, _)| self.tasks.get(&head));
            own.max(head.and_then(|head| head.waits_until(now)))
        };
        let waits = task.waits_until(now);
        let mut limit = None;
        let (blocker, ahead) = match task.phase {
            Phase::Ended { .. } => return None,
            _ if task.busy || task.is_to_be_cancelled() => (Some(Blocker::BeingStored), None),
            Phase::Ready { .. } if !self.may_run_as_member(id, task) => {
                let waits = self.waits_for(task);
                let blocker = waits.map(|(task, left)| Blocker::Predecessors { task, left });
                (Some(blocker.unwrap_or(Blocker::BeingStored)), None)
            }
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
            Phase::Ready { .. } => match (before, self.before_by_key(id, task, most)) {
                (Some((task, ahead)), _) => {
                    let blocks = self.tasks.get(&task).is_some_and(|head| head.blocks);
                    let blocker = if blocks {
                        Blocker::OrderBlocked { task }
                    } else {
                        Blocker::OrderHead { task }
                    };
                    (Some(blocker), Some(ahead))
                }
                (None, Some((task, ahead))) => (Some(Blocker::Singleton { task }), Some(ahead)),
                (None, None) if task.is_pulled() => {
                    let (blocker, key) = self.unclaimed(id, task, now);
                    limit = key;
                    let of = claimant(&self.tasks, &self.lanes, id);
                    let ahead = self.offers.ahead(&task.entry(id), most)
                        + of.map_or(0, |of| self.keys.ahead(of, most));
                    (Some(blocker), Some(ahead.min(most)))
                }
                (None, None) => {
                    let running = Running {
                        task: id,
                        number: task.attempts + 1,
                        kind: CallKind::Attempt,
                    };
                    let compartment = task.compartment();
                    let place = (self.lanes.names(task.lane), task.lane);
                    let host = (compartment, task.lane);
                    let at_host = self.hosts.ahead(host, task.created, most);
                    let opens = self.hosts.opens(compartment, now);
                    let of = claimant(&self.tasks, &self.lanes, id);
                    let limited = of.and_then(|of| self.keys.holds(of.claims, now));
                    let blocker = match (self.gates.holds(place, now), limited) {
                        _ if self.hosts.is_unheard(compartment, now) => {
                            Some(Blocker::WaitingForListener)
                        }
                        _ if at_host.is_some() || opens.is_some() => Some(Blocker::TargetOpen {
                            until: opens.flatten(),
                        }),
                        (Some(held), _) => Some(held.blocker(now)),
                        (None, Some((key, by))) => {
                            limit = Some(key.clone());
                            Some(by.blocker(now))
                        }
                        (None, None) => slots(Wanted {
                            running,
                            compartment,
                        }),
                    };
                    let ahead = at_host.unwrap_or_else(|| {
                        self.ready.ahead(&task.entry(id), most)
                            + self.gates.ahead(place.0, task.rank(), most)
                            + of.map_or(0, |of| self.keys.ahead(of, most))
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
            limit,
            waits: Vec::new(),
            known_since: None,
        })
    }
}

impl Dispatcher {
    /// What keeps a ready task that workers claim from running, and the limit key if that is one.
    /// Whether its keys have room is known only once somebody wants it.
    fn unclaimed(&self, id: TaskId, task: &Open, now: Times) -> (Blocker, Option<LimitKey>) {
        let place = (self.lanes.names(task.lane), task.lane);
        if let Some(held) = self.gates.holds(place, now) {
            return (held.blocker(now), None);
        }
        let of = claimant(&self.tasks, &self.lanes, id);
        let of = of.filter(|of| {
            self.keys.is_parked(of.claims, of.rank) || self.keys.any_paused(of.claims)
        });
        match of.and_then(|of| self.keys.holds(of.claims, now)) {
            Some((key, by)) => (by.blocker(now), Some(key.clone())),
            None => (Blocker::Unclaimed, None),
        }
    }
}

impl HeldBy {
    fn blocker(self, now: Times) -> Blocker {
        match self {
            Self::Pause(until) => Blocker::QueuePaused { until },
            Self::Unheard => Blocker::WaitingForListener,
            Self::Concurrency => Blocker::QueueConcurrency,
            Self::Rate(length) => Blocker::QueueRate {
                until: now.wall.plus(length),
            },
        }
    }
}

impl LimitedBy {
    fn blocker(self, now: Times) -> Blocker {
        match self {
            Self::Pause(until) => Blocker::LimitPaused { until },
            Self::Concurrency => Blocker::LimitConcurrency,
            Self::Rate(length) => Blocker::LimitRate {
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
