//! What a partition still needs of the log, and how open tasks make room in it.
//!
//! An open task needs its request, which is in its creation or its latest restatement. So that the
//! log can drop old records, the task is restated at the end of the log. A restatement does not
//! change the task, so it is decided beside other decisions: an outcome that arrives meanwhile is
//! decided after it, and the log has both in that order.

use super::keyed::Keyed;
use super::lanes::Lane;
use super::lease::{Lease, Pull};
use super::members::Member;
use super::open::{Open, Phase};
use super::orders::Order;
use super::{Decision, Dispatcher};
use crate::event::{
    CallbackFailed, Failure, FailureKind, Standing, TaskCreated, TaskEnd, TaskEvent, TaskExpired,
    TaskRestated, TaskUnblocked,
};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::History;
use crate::time::{Elapsed, Times, Timestamp};

/// Bytes that a restatement of an open task takes at most beside the creation in it: how the task
/// stands, and its latest attempts. Creations leave that much room in a message.
pub const RESTATEMENT_BYTES: usize = 64 * 1024;

/// Limit of the request and the answer that are stated of a task that blocks: together with the rest,
/// they must fit into one message.
const KEPT_BYTES: usize = 768 * 1024;

/// A task that may be restated, and what must be read for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restatable {
    pub task: TaskId,
    /// Sequence of its latest request.
    pub stored: StreamSeq,
    /// Sequence of its end, if it has ended.
    pub ended: Option<StreamSeq>,
}

impl Dispatcher {
    /// The oldest sequence that is needed by an open task, by one with an undelivered webhook, by an
    /// ended one that is remembered for its duplicates, or by the pause of a limit; `None` if there is
    /// no such task.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<StreamSeq> {
        let tasks = self.tasks.values().map(Open::needs);
        let others = self.remembered.needs().into_iter().chain(self.keys.needs());
        tasks.chain(others).min()
    }

    /// Up to `max` tasks whose request stands before `horizon`, oldest first. Tasks with a pending
    /// decision are left out this time.
    #[must_use]
    pub fn restatable(&self, horizon: StreamSeq, max: usize) -> Vec<Restatable> {
        let about_to_end = self.lines_about_to_end();
        let about_to_go_on = self.about_to_go_on();
        let mut found: Vec<_> = self
            .tasks
            .iter()
            .filter(|(_, task)| {
                task.stated_since() < horizon
                    && !task.busy
                    && !task.restating
                    && !task.requesting_cancel
            })
            .filter(|(_, task)| !task.is_being_extended())
            .filter(|(_, task)| task.may_be_restated(&about_to_end))
            .filter(|(id, _)| !about_to_go_on.contains(*id))
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

    /// Decides to restate a task, with its request as read at `of.stored` and its end as read at
    /// `of.ended`. Returns false if the task has changed in the meantime, so that there is nothing
    /// to restate, or not now.
    pub fn restate(
        &mut self,
        of: Restatable,
        created: TaskCreated,
        end: Option<TaskEnd>,
        now: Times,
    ) -> bool {
        let about_to_end = self.lines_about_to_end();
        let goes_on = self.about_to_go_on().contains(&of.task);
        let Some(task) = self.tasks.get_mut(&of.task) else {
            return false;
        };
        let changed = task.stored != of.stored || created.id != of.task;
        let changed = changed || task.is_being_extended();
        // A pending request to cancel is not part of the state yet, and neither is a heartbeat; a
        // restatement after it would undo it.
        let may_be = task.may_be_restated(&about_to_end) && !goes_on;
        if task.busy || task.restating || task.requesting_cancel || changed || !may_be {
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
            is_joined: false,
            ticket: None,
        });
        true
    }

    /// Ends a task whose request, or end, can no longer be read from the log, since no call can be
    /// made for it. A running call ends by itself first.
    pub fn request_lost(&mut self, id: TaskId, now: Times) {
        let Some(task) = self.tasks.get(&id).filter(|task| !task.busy) else {
            return;
        };
        let failure = Failure {
            kind: FailureKind::InvalidRequest,
            message: "The task's request is no longer in the log".into(),
        };
        let event = match task.phase {
            // Nobody can do it again any more.
            Phase::Ended { .. } if task.delivered => TaskEvent::Unblocked(TaskUnblocked {
                id,
                by: None,
                place: None,
                at: now.wall,
            }),
            Phase::Waiting { .. } | Phase::Ready { .. } => TaskEvent::Expired(TaskExpired {
                id,
                attempt: None,
                at: now.wall,
                failure,
                cancels_to: None,
                waits: Vec::new(),
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

    /// Whether a restatement waits for the log.
    #[must_use]
    pub fn is_restating(&self) -> bool {
        let restated = |decision: &Decision| matches!(decision.event, TaskEvent::Restated(_));
        self.in_flight.iter().chain(&self.decided).any(restated)
    }
}

impl Open {
    /// The task, as a restatement alone describes it.
    pub(super) fn restated(
        seq: StreamSeq,
        lane: Lane,
        traceparent: Option<&str>,
        event: &TaskRestated,
    ) -> Self {
        let history = (event.history != History::default()).then(|| event.history.clone());
        let changed = event.changed_priority.as_ref();
        let new = Self::new(event.position, lane, traceparent, &event.created);
        let order = new.order.map(|order| {
            Box::new(Order {
                place: event.order_place,
                ..*order
            })
        });
        Self {
            order,
            priority: changed.map_or(event.created.priority, |changed| changed.to),
            created: event.position,
            stored: seq,
            attempts: event.attempts,
            failures: event.failures,
            lost: event.lost,
            uncounted: event.uncounted,
            last_failure: event.last_failure.clone().map(Box::new),
            history: history.map(Box::new),
            cancel_requested: event.cancel_requested,
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
                Standing::Running { attempt, .. } => Phase::Running { attempt },
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
            keyed: Keyed::of(&event.created, event.span),
            changed_priority: event.changed_priority.clone().map(Box::new),
            pull: Pull::restated(event),
            member: match event.standing {
                Standing::Ended { .. } => None,
                _ => Member::restated(event),
            },
            blocks: event.blocks.is_some(),
            delivered: event.blocks.is_some_and(|blocks| blocks.webhook_over),
            ..new
        }
    }

    /// The contents of a restatement; `None` if the task has ended and `end` is missing.
    pub(super) fn restate(
        &self,
        mut created: TaskCreated,
        mut end: Option<TaskEnd>,
        now: Timestamp,
    ) -> Option<TaskRestated> {
        let standing = match self.phase {
            Phase::Waiting { until, from, .. } => Standing::Waiting { until, from },
            Phase::Ready { since, .. } => Standing::Ready { since },
            Phase::Running { attempt } => Standing::Running {
                attempt,
                lease: self.lease().map(Lease::standing),
            },
            Phase::Ended {
                deliveries,
                due,
                from,
                ..
            } => {
                // Only the webhook remains to be sent, and the result may be as large as a request.
                created.sealed = None;
                self.fit_end(&mut created, end.as_mut());
                Standing::Ended {
                    deliveries,
                    due,
                    from,
                    end: Box::new(end?),
                }
            }
        };
        Some(TaskRestated {
            member: self.waits_as_stated(&created),
            created,
            position: self.created,
            at: now,
            standing,
            attempts: self.attempts,
            failures: self.failures,
            lost: self.lost,
            uncounted: self.uncounted,
            first_start: None,
            last_failure: self.last_failure.as_deref().map(Failure::shortened),
            cancel_requested: self.cancel_requested,
            history: self.history.as_deref().cloned().unwrap_or_default(),
            span: self.window().map(|window| window.span),
            changed_priority: self.changed_priority.as_deref().cloned(),
            order_place: self.order.as_ref().and_then(|order| order.place),
            blocks: self.blocks_as_stated(),
        })
    }

    /// Leaves out of the restatement of an ended task what is not needed, or has no room: one that
    /// blocks may be done again, which takes its request.
    fn fit_end(&self, created: &mut TaskCreated, end: Option<&mut TaskEnd>) {
        let answer = end.as_deref().and_then(TaskEnd::answer);
        let answer = answer.map_or(0, |answer| answer.body.len());
        let fits = created.stored_bytes() as usize + answer <= KEPT_BYTES;
        if self.blocks && fits {
            return;
        }
        if let Some(TaskEnd::Dead(end)) = end.filter(|_| self.blocks && self.delivered) {
            end.answer = None;
            return;
        }
        created.headers.clear();
        created.body = None;
    }

    /// The oldest sequence that a restatement makes superfluous.
    fn stated_since(&self) -> StreamSeq {
        let place = self.order.as_ref().and_then(|order| order.needed);
        place.map_or(self.stored, |needed| needed.min(self.stored))
    }

    /// The oldest sequence that this task still needs.
    pub(super) fn needs(&self) -> StreamSeq {
        let after = self.cancelled_after.as_ref().map(|after| after.needed);
        let place = self.order.as_ref().and_then(|order| order.needed);
        let others = self.read_from.into_iter().chain(after).chain(place);
        others.fold(self.stored, StreamSeq::min)
    }
}
