//! What of the log a partition still needs, and how open tasks make room in it.
//!
//! An open task needs its request, which stands at its creation or at its latest restatement. To let the log drop what is old, the
//! task is stated again at the end of the log. A restatement changes nothing of the task, so it is decided beside other decisions:
//! the task stays as it is, a result that comes meanwhile is decided behind it, and the log holds both in that order.

use super::lanes::Lane;
use super::open::{Open, Phase};
use super::{Decision, Dispatcher};
use crate::event::{
    CallbackFailed, Failure, FailureKind, Standing, TaskCreated, TaskEnd, TaskEvent, TaskExpired,
    TaskRestated,
};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::History;
use crate::time::{Elapsed, Times, Timestamp};

/// A task that may be stated again, and what has to be read for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restatable {
    /// The task.
    pub task: TaskId,
    /// Where its request stands.
    pub stored: StreamSeq,
    /// Where its end stands, when it has ended.
    pub ended: Option<StreamSeq>,
}

impl Dispatcher {
    /// The oldest position that an open task, or one whose webhook is still to be delivered, needs. `None`: there is no such task.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<StreamSeq> {
        self.tasks.values().map(Open::needs).min()
    }

    /// Up to `max` tasks whose request stands before `horizon`, the oldest first. Those about which a decision waits are left out
    /// this time.
    #[must_use]
    pub fn restatable(&self, horizon: StreamSeq, max: usize) -> Vec<Restatable> {
        let mut found: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.stored < horizon && !task.busy && !task.restating)
            .map(|(&id, task)| Restatable {
                task: id,
                stored: task.stored,
                ended: match task.phase {
                    Phase::Ended { seq, .. } => Some(seq),
                    _ => None,
                },
            })
            .collect();
        if found.len() > max {
            found.select_nth_unstable_by_key(max, |restatable| restatable.stored);
            found.truncate(max);
        }
        found.sort_unstable_by_key(|restatable| restatable.stored);
        found
    }

    /// Decides to state a task again: with its request as it was read at `of.stored`, and how it ended as read at `of.ended`. False
    /// when the task has changed meanwhile so that there is nothing to state, or not now.
    pub fn restate(
        &mut self,
        of: Restatable,
        created: TaskCreated,
        end: Option<TaskEnd>,
        now: Times,
    ) -> bool {
        let Some(task) = self.tasks.get_mut(&of.task) else {
            return false;
        };
        let changed = task.stored != of.stored || created.id != of.task;
        if task.busy || task.restating || changed {
            return false;
        }
        let Some(event) = task.restate(created, end, now.wall) else {
            return false;
        };
        task.restating = true;
        let (team, queue) = self.lanes.names(task.lane).clone();
        self.decided.push_back(Decision {
            traceparent: task.traceparent.as_deref().map(Into::into),
            event: TaskEvent::Restated(Box::new(event)),
            team,
            queue,
            actor: None,
            decided: now.elapsed,
            ticket: None,
        });
        true
    }

    /// The request of a task, or its end, can be read nowhere any more: nothing can be called for it, so it ends. A call that is being
    /// made ends by itself first.
    pub fn request_lost(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get(&id).filter(|task| !task.busy) else {
            return;
        };
        let failure = Failure {
            kind: FailureKind::InvalidRequest,
            message: "The task's request is no longer in the log".into(),
        };
        let event = match task.phase {
            Phase::Waiting { .. } | Phase::Ready { .. } => TaskEvent::Expired(TaskExpired {
                id,
                attempt: None,
                at: now.wall,
                failure,
            }),
            Phase::Ended {
                deliveries,
                claimed: false,
                ..
            } => TaskEvent::CallbackFailed(CallbackFailed {
                id,
                attempt: deliveries + 1,
                at: now.wall,
                failure,
                retry_at: None,
            }),
            Phase::Running { .. } | Phase::Ended { .. } => return,
        };
        self.decide(event, None, now);
    }

    /// Does a restatement wait for the log?
    #[must_use]
    pub fn is_restating(&self) -> bool {
        let restated = |decision: &Decision| matches!(decision.event, TaskEvent::Restated(_));
        self.in_flight.iter().chain(&self.decided).any(restated)
    }
}

impl Open {
    /// The task as a restatement alone tells it.
    pub(super) fn restated(
        seq: StreamSeq,
        lane: Lane,
        traceparent: Option<&str>,
        event: &TaskRestated,
    ) -> Self {
        let history = (event.history != History::default()).then(|| event.history.clone());
        Self {
            created: event.position,
            stored: seq,
            attempts: event.attempts,
            failures: event.failures,
            lost: event.lost,
            uncounted: event.uncounted,
            first_start: event.first_start,
            last_failure: event.last_failure.clone().map(Box::new),
            history: history.map(Box::new),
            phase: match event.standing {
                Standing::Waiting { until, from } => Phase::Waiting {
                    until,
                    from,
                    wake: Elapsed::default(),
                },
                Standing::Ready { since } => Phase::Ready {
                    since,
                    from: Elapsed::default(),
                },
                Standing::Running { attempt } => Phase::Running { attempt },
                Standing::Ended {
                    deliveries,
                    due,
                    from,
                    ..
                } => Phase::Ended {
                    seq,
                    deliveries,
                    due,
                    claimed: false,
                    from,
                    wake: Elapsed::default(),
                },
            },
            ..Self::new(event.position, lane, traceparent, &event.created)
        }
    }

    /// What a restatement says of it; `None` when the task has ended and how is not given.
    pub(super) fn restate(
        &self,
        mut created: TaskCreated,
        end: Option<TaskEnd>,
        now: Timestamp,
    ) -> Option<TaskRestated> {
        let standing = match self.phase {
            Phase::Waiting { until, from, .. } => Standing::Waiting { until, from },
            Phase::Ready { since, .. } => Standing::Ready { since },
            Phase::Running { attempt } => Standing::Running { attempt },
            Phase::Ended {
                deliveries,
                due,
                from,
                ..
            } => {
                // Only the webhook is still to be sent, and the result may be as large as a request.
                created.headers.clear();
                (created.body, created.sealed) = (None, None);
                Standing::Ended {
                    deliveries,
                    due,
                    from,
                    end: end?,
                }
            }
        };
        Some(TaskRestated {
            created,
            position: self.created,
            at: now,
            standing,
            attempts: self.attempts,
            failures: self.failures,
            lost: self.lost,
            uncounted: self.uncounted,
            first_start: self.first_start,
            last_failure: self.last_failure.as_deref().cloned(),
            history: self.history.as_deref().cloned().unwrap_or_default(),
        })
    }

    /// The oldest position that this task still needs.
    pub(super) fn needs(&self) -> StreamSeq {
        self.read_from
            .map_or(self.stored, |seq| seq.min(self.stored))
    }
}
