//! A task that has not ended, as the dispatcher remembers it: everything that decides when it runs, nothing of what it carries.
//! Its body and headers stay in the log.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::LEASE_SLACK;
use super::action::Call;
use crate::event::{AttemptFailed, Failure, FailureKind, TaskCreated, TaskStarted};
use crate::id::{QueueName, TeamId};
use crate::seq::StreamSeq;
use crate::task::{Backoff, Priority, RetryOn};
use crate::time::Timestamp;

/// Where a task stands. Each state holds what is only true in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Not to be started before: delayed, or between two attempts.
    Waiting { until: Timestamp },
    /// May be started, since then.
    Ready { since: Timestamp },
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
    },
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
    /// Start of the first attempt since one was lost or could not be made for want of the vault: the time limit over all attempts counts from here.
    pub(super) first_start: Option<Timestamp>,
    pub(super) last_failure: Option<Box<Failure>>,
    pub(super) phase: Phase,
    /// It brought sealed headers along. Last, as it stands in no older snapshot.
    #[serde(default)]
    pub(super) sealed: bool,
    /// A decision about it waits for the log.
    #[serde(skip)]
    pub(super) busy: bool,
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
                Some(until) => Phase::Waiting { until },
                None => Phase::Ready { since: created.at },
            },
            sealed: created.sealed.is_some(),
            busy: false,
        }
    }

    /// Since when it could have been started.
    pub(super) fn due(&self) -> Timestamp {
        match self.phase {
            Phase::Ready { since } | Phase::Waiting { until: since } => since,
            Phase::Running { .. } | Phase::Ended { .. } => self.created_at,
        }
    }

    /// When its time over all attempts has passed; `None` before the first one.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Ended { .. } => None,
            _ => self
                .first_start
                .map(|start| start.plus(Duration::from_millis(self.max_wait_ms.into()))),
        }
    }

    /// How long an attempt that starts now may take.
    pub(super) fn limit(&self, now: Timestamp) -> Duration {
        let left = self.deadline().map_or_else(
            || Duration::from_millis(self.max_wait_ms.into()),
            |deadline| deadline.since(now),
        );
        Duration::from_millis(self.timeout_ms.into()).min(left)
    }

    /// The call of an attempt that has started.
    pub(super) fn call(&self, started: &TaskStarted, waited: Duration) -> Call {
        Call {
            task: started.id,
            created: self.created,
            attempt: started.attempt,
            limit: started
                .lease_until
                .since(started.at)
                .saturating_sub(LEASE_SLACK),
            waited,
            traceparent: self.traceparent.as_deref().map(Into::into),
        }
    }

    pub(super) fn failed(&mut self, event: &AttemptFailed) {
        if event.counted {
            self.failures = self.failures.saturating_add(1);
        } else {
            let is_lost = event.failure.kind == FailureKind::WorkerLost;
            self.lost = self.lost.saturating_add(u16::from(is_lost));
            // The target is not to blame for the time that passed without a worker, or without the vault.
            self.first_start = None;
        }
        self.last_failure = Some(Box::new(event.failure.clone()));
        self.phase = Phase::Waiting {
            until: event.retry_at,
        };
    }
}

/// A queue of a team, as a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Lane(u32);

/// The queues of this partition: tasks hold a number instead of two names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Lanes {
    names: Vec<(TeamId, QueueName)>,
    #[serde(skip)]
    numbers: HashMap<(TeamId, QueueName), Lane>,
}

impl Lanes {
    pub(super) fn of(&mut self, team: &TeamId, queue: &QueueName) -> Lane {
        if let Some(&lane) = self.numbers.get(&(team.clone(), queue.clone())) {
            return lane;
        }
        let lane = Lane(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.names.push((team.clone(), queue.clone()));
        self.numbers.insert((team.clone(), queue.clone()), lane);
        lane
    }

    pub(super) fn names(&self, lane: Lane) -> &(TeamId, QueueName) {
        &self.names[lane.0 as usize]
    }

    pub(super) fn holds(&self, lane: Lane) -> bool {
        (lane.0 as usize) < self.names.len()
    }

    /// The same after it was read from a snapshot.
    pub(super) fn indexed(mut self) -> Self {
        self.numbers = (0..)
            .zip(&self.names)
            .map(|(number, name)| (name.clone(), Lane(number)))
            .collect();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatcher::{Action, Dispatcher};
    use crate::event::{TaskCancelled, TaskEvent, samples};
    use crate::id::TaskId;
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
        dispatcher.activate(at, &HashSet::new(), Vec::new(), &mut actions);
        let cancelled = TaskEvent::Cancelled(TaskCancelled { id, at });
        dispatcher.evolve(StreamSeq(2), &cancelled, &mut actions);
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
    fn a_task_in_an_older_snapshot_had_nothing_sealed() {
        let lane = Lanes::default().of(&TeamId::new(Timestamp(1), 1), &QueueName::default());
        let open = Open::new(StreamSeq(1), lane, None, &created(false));
        let mut bytes = rmp_serde::to_vec(&open).expect("encoded");
        // The last field is not there: an array16 with one element less.
        assert_eq!((bytes[0], bytes.pop()), (0xdc, Some(0xc2)));
        bytes[2] -= 1;
        assert_eq!(rmp_serde::from_slice::<Open>(&bytes).ok(), Some(open));
    }
}
