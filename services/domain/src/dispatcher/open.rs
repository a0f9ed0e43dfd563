//! A task that has not ended, as the dispatcher remembers it: everything that decides when it runs, nothing of what it carries.
//! Its body and headers stay in the log.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LEASE_SLACK;
use super::action::{Call, Compartment};
use super::lanes::Lane;
use super::timers::Alarm;
use crate::event::{AttemptFailed, Failure, FailureKind, TaskCreated, TaskReleased, TaskStarted};
use crate::seq::StreamSeq;
use crate::task::{Backoff, History, Priority, RetryOn};
use crate::time::{Elapsed, Times, Timestamp};

/// Where a task stands. Each state holds what is only true in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Not to be started before: delayed, or between two attempts.
    Waiting {
        until: Timestamp,
        /// Since when, of a pause between two attempts: a length. `None`: `until` is a date that a client gave.
        #[serde(default)]
        from: Option<Timestamp>,
        /// When such a pause is over, by the clock of this owner.
        #[serde(skip)]
        wake: Elapsed,
    },
    /// May be started, since then.
    Ready {
        since: Timestamp,
        /// The same by the clock of this owner.
        #[serde(skip)]
        from: Elapsed,
    },
    /// An attempt is being made.
    Running { attempt: u32 },
    /// Ended, and the completion webhook is still to be delivered.
    Ended {
        /// Where the event that ended it stands.
        seq: StreamSeq,
        /// Deliveries that failed.
        deliveries: u32,
        /// When the next one is due.
        due: Timestamp,
        /// It is being made, or waits for a slot.
        claimed: bool,
        /// Since when the pause before it has run. `None` in older snapshots.
        #[serde(default)]
        from: Option<Timestamp>,
        /// When the pause is over, by the clock of this owner.
        #[serde(skip)]
        wake: Elapsed,
    },
}

/// How much is left of the time limit over all attempts, by the clock of this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Allowance {
    /// All of it: no attempt has started that counts.
    #[default]
    Whole,
    /// Until then.
    Until(Elapsed),
    /// It was over when this owner took over, as far as the wall clock tells. Clocks may be wrong, and nobody worked on the task
    /// meanwhile: it has one more attempt.
    OneMore,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) created: StreamSeq,
    pub(super) lane: Lane,
    pub(super) priority: Priority,
    pub(super) created_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) timeout_ms: u32,
    pub(super) max_wait_ms: u32,
    pub(super) max_retries: u16,
    pub(super) backoff: Backoff,
    pub(super) retry_on: Option<Box<RetryOn>>,
    pub(super) has_callback: bool,
    pub(super) traceparent: Option<Box<str>>,
    /// Attempts started.
    pub(super) attempts: u32,
    /// Attempts failed that used up a retry.
    pub(super) failures: u16,
    /// Attempts lost with their worker.
    pub(super) lost: u16,
    /// Start of the first attempt since one was lost, released, or could not be made: the time limit over all attempts counts from
    /// here.
    pub(super) first_start: Option<Timestamp>,
    pub(super) last_failure: Option<Box<Failure>>,
    pub(super) phase: Phase,
    /// It brought sealed headers along. Last, as it stands in no older snapshot.
    #[serde(default)]
    pub(super) sealed: bool,
    /// What its creation takes in the log. Unknown, and counted as nothing, in older snapshots.
    #[serde(default)]
    pub(super) bytes: u32,
    /// Where its request stands: its creation, or the latest restatement.
    #[serde(default)]
    pub(super) stored: StreamSeq,
    /// What clients are shown of its past, once it has one.
    #[serde(default)]
    pub(super) history: Option<Box<History>>,
    /// A restatement of it waits for the log.
    #[serde(skip)]
    pub(super) restating: bool,
    /// Where the call being made now reads the request, when it was restated meanwhile.
    #[serde(skip)]
    pub(super) read_from: Option<StreamSeq>,
    /// Attempts in a row that failed without using up a retry. Older snapshots end before it.
    #[serde(default)]
    pub(super) uncounted: u32,
    /// Whose slots its attempts take, and the host of its completion webhook. In older snapshots 0: all tasks of them share one.
    #[serde(default)]
    pub(super) team: u64,
    #[serde(default)]
    pub(super) target: u64,
    #[serde(default)]
    pub(super) receiver: u64,
    /// A decision about it waits for the log.
    #[serde(skip)]
    pub(super) busy: bool,
    #[serde(skip)]
    pub(super) allowance: Allowance,
}

impl Open {
    pub(super) fn new(
        seq: StreamSeq,
        lane: Lane,
        traceparent: Option<&str>,
        created: &TaskCreated,
    ) -> Self {
        Self {
            created: seq,
            lane,
            priority: created.priority,
            created_at: created.at,
            not_before: created.not_before,
            timeout_ms: created.timeout_ms,
            max_wait_ms: created.max_wait_ms,
            max_retries: created.max_retries,
            backoff: created.backoff,
            retry_on: created.retry_on.clone().map(Box::new),
            has_callback: created.on_complete_url.is_some(),
            traceparent: traceparent.map(Into::into),
            attempts: 0,
            failures: 0,
            lost: 0,
            first_start: None,
            last_failure: None,
            phase: match created.not_before {
                Some(until) => Phase::Waiting {
                    until,
                    from: None,
                    wake: Elapsed::default(),
                },
                None => Phase::Ready {
                    since: created.at,
                    from: Elapsed::default(),
                },
            },
            sealed: created.sealed.is_some(),
            bytes: created.stored_bytes(),
            stored: seq,
            history: None,
            restating: false,
            read_from: None,
            uncounted: 0,
            team: Compartment::team(&created.team),
            target: Compartment::host(&created.url),
            receiver: created
                .on_complete_url
                .as_deref()
                .map_or(0, Compartment::host),
            busy: false,
            allowance: Allowance::Whole,
        }
    }

    /// Places what the log says on the clock of an owner that takes over.
    pub(super) fn place(&mut self, now: Times) {
        let max_wait = self.max_wait();
        self.allowance = match self.first_start {
            None => Allowance::Whole,
            Some(start) => match now.end_of(start, max_wait) {
                end if end <= now.elapsed => Allowance::OneMore,
                end => Allowance::Until(end),
            },
        };
        match &mut self.phase {
            Phase::Waiting { until, from, wake } => {
                if let Some(from) = *from {
                    *wake = now.end_of(from, until.since(from));
                }
            }
            Phase::Ready { since, from } => *from = now.place(*since),
            Phase::Ended {
                due, from, wake, ..
            } => {
                let from = from.unwrap_or(now.wall);
                *wake = now.end_of(from, due.since(from));
            }
            Phase::Running { .. } => {}
        }
    }

    /// When it is to be looked at.
    pub(super) fn alarms(&self) -> impl Iterator<Item = Alarm> + use<> {
        let wake = match self.phase {
            Phase::Waiting {
                until, from: None, ..
            } => Some(Alarm::Date(until)),
            Phase::Waiting { wake, .. }
            | Phase::Ended {
                claimed: false,
                wake,
                ..
            } => Some(Alarm::Length(wake)),
            Phase::Ready { .. } | Phase::Running { .. } | Phase::Ended { .. } => None,
        };
        // A retry that waits for a slot still has its time limit; a running attempt has its own.
        let end = match (&self.phase, self.allowance) {
            (Phase::Waiting { .. } | Phase::Ready { .. }, Allowance::Until(end)) => {
                Some(Alarm::Length(end))
            }
            _ => None,
        };
        wake.into_iter().chain(end)
    }

    /// May its next attempt start, as far as its delay or pause is concerned?
    pub(super) fn has_waited(&self, now: Times) -> bool {
        match self.phase {
            Phase::Waiting {
                until, from: None, ..
            } => until <= now.wall,
            Phase::Waiting { wake, .. } | Phase::Ended { wake, .. } => wake <= now.elapsed,
            Phase::Ready { .. } => true,
            Phase::Running { .. } => false,
        }
    }

    fn max_wait(&self) -> Duration {
        Duration::from_millis(self.max_wait_ms.into())
    }

    /// The number of the delivery that comes next, once it has ended.
    pub(super) fn next_delivery(&self) -> Option<u32> {
        match self.phase {
            Phase::Ended { deliveries, .. } => Some(deliveries + 1),
            _ => None,
        }
    }

    /// Whose slots its attempts take.
    pub(super) fn compartment(&self) -> Compartment {
        Compartment {
            team: self.team,
            host: self.target,
        }
    }

    /// Whose slots the deliveries of its completion webhook take.
    pub(super) fn webhook_compartment(&self) -> Compartment {
        Compartment {
            team: self.team,
            host: self.receiver,
        }
    }

    /// Has its time over all attempts passed?
    pub(super) fn is_overdue(&self, now: Times) -> bool {
        match (&self.phase, self.allowance) {
            (Phase::Ended { .. }, _) | (_, Allowance::Whole | Allowance::OneMore) => false,
            (_, Allowance::Until(end)) => end <= now.elapsed,
        }
    }

    /// How long an attempt that starts now may take.
    pub(super) fn limit(&self, now: Times) -> Duration {
        let left = match self.allowance {
            Allowance::Whole | Allowance::OneMore => self.max_wait(),
            Allowance::Until(end) => end.since(now.elapsed),
        };
        Duration::from_millis(self.timeout_ms.into()).min(left)
    }

    /// An attempt has started; `at`: when, by the clock of this owner, and `None` in a replay.
    pub(super) fn started(&mut self, event: &TaskStarted, at: Option<Elapsed>) {
        self.attempts = event.attempt;
        self.first_start.get_or_insert(event.at);
        self.phase = Phase::Running {
            attempt: event.attempt,
        };
        let Some(at) = at else { return };
        self.allowance = match self.allowance {
            Allowance::Whole => Allowance::Until(at.plus(self.max_wait())),
            // This is the one: no other follows it.
            Allowance::OneMore => Allowance::Until(at),
            Allowance::Until(end) => Allowance::Until(end),
        };
    }

    /// The call of an attempt that has started.
    pub(super) fn call(&self, started: &TaskStarted, waited: Duration) -> Call {
        Call {
            task: started.id,
            created: self.stored,
            attempt: started.attempt,
            limit: started
                .lease_until
                .since(started.at)
                .saturating_sub(LEASE_SLACK),
            waited,
            traceparent: self.traceparent.as_deref().map(Into::into),
        }
    }

    /// An attempt has failed and another one follows; `at` as for [`Open::started`].
    pub(super) fn failed(&mut self, event: &AttemptFailed, at: Option<Elapsed>) {
        let is_lost = event.failure.kind == FailureKind::WorkerLost;
        self.lost = self.lost.saturating_add(u16::from(is_lost));
        if event.counted {
            self.failures = self.failures.saturating_add(1);
            // What goes on being lost goes on counting, or most losses would be free again.
            if !is_lost {
                self.uncounted = 0;
            }
        } else {
            self.uncounted = self.uncounted.saturating_add(1);
            // The target is not to blame for the time that passed without a worker, or without the vault.
            self.first_start = None;
            self.allowance = Allowance::Whole;
        }
        self.last_failure = Some(Box::new(event.failure.clone()));
        let pause = event.retry_at.since(event.at);
        self.phase = Phase::Waiting {
            until: event.retry_at,
            from: Some(event.at),
            wake: at.map_or_else(Elapsed::default, |at| at.plus(pause)),
        };
    }

    /// Its attempt was cut short in order. What the worker's end took of its time is not the target's.
    pub(super) fn released(&mut self, event: &TaskReleased, at: Option<Elapsed>) {
        self.first_start = None;
        self.allowance = Allowance::Whole;
        self.uncounted = 0;
        self.phase = Phase::Ready {
            since: event.at,
            from: at.unwrap_or_default(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::{Action, Dispatcher};
    use crate::event::{TaskCancelled, TaskEvent, samples};
    use crate::id::{TaskId, TeamId};
    use std::collections::HashSet;

    fn created(sealed: bool) -> Box<TaskCreated> {
        let Some(TaskEvent::Created(mut created)) = samples::task_events().into_iter().next()
        else {
            panic!("the first sample is a creation");
        };
        if !sealed {
            created.sealed = None;
        }
        created
    }

    /// What becomes of the task when it is cancelled, and whose it was.
    fn end(created: Box<TaskCreated>, snapshot: bool) -> Vec<(TaskId, TeamId, bool)> {
        let (id, at) = (created.id, created.at);
        let mut dispatcher = Dispatcher::new();
        dispatcher.apply(StreamSeq(1), None, &TaskEvent::Created(created));
        if snapshot {
            let bytes = dispatcher.snapshot().expect("nothing in flight");
            dispatcher = Dispatcher::restore(&bytes).expect("of this version");
        }
        let mut actions = Vec::new();
        let now = Times {
            elapsed: Elapsed(0),
            wall: at,
        };
        dispatcher.activate(now, &HashSet::new(), Vec::new(), &mut actions);
        let cancelled = TaskEvent::Cancelled(TaskCancelled { id, at });
        dispatcher.evolve(StreamSeq(2), &cancelled, Some(now.elapsed), &mut actions);
        let ended = actions.into_iter().filter_map(|action| match action {
            Action::Ended {
                task, team, sealed, ..
            } => Some((task, team, sealed)),
            _ => None,
        });
        ended.collect()
    }

    #[test]
    fn the_end_of_a_task_tells_whether_a_key_is_to_be_erased() {
        for snapshot in [false, true] {
            for sealed in [false, true] {
                let created = created(sealed);
                let (id, team) = (created.id, created.team.clone());
                assert_eq!(end(created, snapshot), [(id, team, sealed)], "{snapshot}");
            }
        }
    }

    #[test]
    fn phases_in_older_snapshots_are_read() {
        #[derive(Serialize)]
        enum Older {
            Waiting {
                until: Timestamp,
            },
            Ready {
                since: Timestamp,
            },
            Ended {
                seq: StreamSeq,
                deliveries: u32,
                due: Timestamp,
                claimed: bool,
            },
        }
        let (until, since, due) = (Timestamp(5), Timestamp(5), Timestamp(5));
        let (wake, from) = (Elapsed(0), None);
        let (seq, deliveries, claimed) = (StreamSeq(3), 2, true);
        for (older, phase) in [
            (
                Older::Waiting { until },
                Phase::Waiting { until, from, wake },
            ),
            (Older::Ready { since }, Phase::Ready { since, from: wake }),
            (
                Older::Ended {
                    seq,
                    deliveries,
                    due,
                    claimed,
                },
                Phase::Ended {
                    seq,
                    deliveries,
                    due,
                    claimed,
                    from,
                    wake,
                },
            ),
        ] {
            let bytes = rmp_serde::to_vec(&older).expect("encoded");
            assert_eq!(rmp_serde::from_slice(&bytes).ok(), Some(phase));
        }
    }
}
