//! What workers report about the tasks that they have claimed.
//!
//! A report names the attempt. If that is the running one and nothing is being decided about it, the
//! report counts; if the same was reported of it before, it is answered as it was then, since a
//! worker repeats what it got no answer to; otherwise the worker has lost its claim and nothing
//! changes.

use std::time::Duration;

use super::action::{Action, Report, Ticket};
use super::open::{Open, Phase};
use super::{Decision, Dispatcher, attempt};
use crate::actor::Actor;
use crate::command::{OwnerReply, WorkerReport};
use crate::event::{
    Failure, FailureKind, TaskDead, TaskEvent, TaskProgressed, TaskReleased, TaskSucceeded,
};
use crate::id::TaskId;
use crate::seq::StreamSeq;
use crate::task::history::settled;
use crate::task::pull::Settled;
use crate::task::retry::Outcome;
use crate::time::Times;

/// What a report comes to.
enum Standing {
    /// It is about the running attempt.
    Holds,
    /// It was reported before. Whether a further attempt followed, or may follow.
    Before {
        retries: bool,
    },
    /// Something is being decided about the task.
    Busy,
    Lost,
    /// There is no such open task.
    NotOpen,
}

impl Dispatcher {
    /// A worker reports about its claim.
    pub fn report(&mut self, report: Report, now: Times, actions: &mut Vec<Action>) {
        let ticket = report.ticket;
        let reply = match self.stands(&report, now) {
            Standing::Holds => {
                self.take_report(report, now);
                return;
            }
            Standing::Before { retries } => OwnerReply::Reported {
                seq: self.certain,
                retries,
            },
            Standing::Busy => OwnerReply::TryAgain,
            Standing::Lost => OwnerReply::LeaseLost,
            Standing::NotOpen => OwnerReply::NotOpen,
        };
        actions.push(Action::Reply { ticket, reply });
    }

    fn stands(&self, report: &Report, now: Times) -> Standing {
        let task = self.tasks.get(&report.task);
        let of_team = |open: &&Open| {
            let (team, queue) = self.lanes.names(open.lane);
            *team == report.team && (report.only.is_empty() || report.only.contains(queue))
        };
        let Some(task) = task.filter(of_team) else {
            return Standing::NotOpen;
        };
        if task.busy {
            return Standing::Busy;
        }
        let attempt = report.attempt;
        let holds = task.phase == (Phase::Running { attempt }) && task.lease().is_some();
        if holds {
            // The task is about to end as cancelled, or its lease is over and that is not decided yet.
            let is_others = report.holder.is_some()
                && task.lease().map(|lease| &*lease.worker) != report.holder.as_deref();
            let is_lost =
                is_others || task.cancel_requested.is_some() || task.has_lost_its_lease(now);
            return if is_lost {
                Standing::Lost
            } else {
                Standing::Holds
            };
        }
        if report.holder.is_some() {
            return Standing::Lost;
        }
        let reported = report.what.settles();
        let history = task.history.as_deref().map(|history| &history.attempts);
        let before = history.and_then(|attempts| settled(attempts, attempt));
        if reported.is_none() || before != reported {
            return Standing::Lost;
        }
        let is_open = !matches!(task.phase, Phase::Ended { .. });
        Standing::Before {
            retries: before != Some(Settled::Completed) && (is_open || task.attempts > attempt),
        }
    }

    fn take_report(&mut self, report: Report, now: Times) {
        let (id, attempt, at) = (report.task, report.attempt, now.wall);
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        if let Some(lease) = task.lease() {
            self.workers.sees(&report.team, &lease.worker, now);
        }
        let traceparent = task.traceparent.as_deref().map(Into::into);
        let asked = (report.actor, traceparent, report.ticket);
        let event = match report.what {
            WorkerReport::Progress {
                lease_ms,
                percent,
                message,
            } => {
                let said = (percent, message);
                return self.extend((id, attempt), lease_ms, said, asked, now);
            }
            WorkerReport::Complete { result } => TaskEvent::Succeeded(TaskSucceeded {
                id,
                attempt,
                at,
                answer: result,
                ok: Some(true),
            }),
            WorkerReport::Release => TaskEvent::Released(TaskReleased {
                id,
                attempt,
                at,
                returned: true,
            }),
            WorkerReport::Fail { message, retry } => {
                let failure = Failure {
                    kind: FailureKind::Reported,
                    message,
                };
                let dead = TaskEvent::Dead(TaskDead {
                    id,
                    attempt,
                    at,
                    failure: failure.clone(),
                    answer: None,
                    cancels_to: None,
                });
                match attempt::after(task, id, attempt, Outcome::Failed(failure), now) {
                    event @ (TaskEvent::AttemptFailed(_) | TaskEvent::Dead(_)) if retry => event,
                    // No time is left for a retry, or none is wanted: the task ends as reported.
                    _ => dead,
                }
            }
        };
        self.decide(event, Some(asked), now);
    }

    /// Queues a heartbeat. The task is not busy meanwhile, so that the worker may report its end.
    fn extend(
        &mut self,
        (id, attempt): (TaskId, u32),
        lease_ms: Option<u32>,
        (percent, message): (Option<u8>, Option<String>),
        (actor, traceparent, ticket): (Actor, Option<String>, Ticket),
        now: Times,
    ) {
        self.disarm(id);
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let wanted = lease_ms.or_else(|| task.lease().map(|lease| lease.lease_ms));
        let lease_ms = task.lease_within(wanted.unwrap_or_default(), now);
        if let Some(lease) = task.lease_mut() {
            let end = now.elapsed.plus(Duration::from_millis(lease_ms.into()));
            lease.end = lease.end.max(end);
            lease.extending += 1;
        }
        let (team, queue) = self.lanes.names(task.lane).clone();
        self.decided.push_back(Decision {
            event: TaskEvent::Progressed(TaskProgressed {
                id,
                attempt,
                at: now.wall,
                lease_ms,
                percent,
                message,
            }),
            team,
            queue,
            actor: Some(actor),
            traceparent,
            ticket: Some(ticket),
            decided: now.elapsed,
            is_joined: false,
        });
        self.arm(id);
    }
}

/// The reply to a report that is stored at `seq`; `None` if the event follows from no report.
///
/// `holder` is the worker that holds the task.
pub(super) fn reply(event: &TaskEvent, seq: StreamSeq, holder: Option<&str>) -> Option<OwnerReply> {
    Some(match event {
        TaskEvent::Progressed(event) => OwnerReply::Extended {
            seq,
            lease_ms: event.lease_ms,
            worker: holder.map(Into::into),
        },
        TaskEvent::AttemptFailed(_) | TaskEvent::Released(_) => {
            OwnerReply::Reported { seq, retries: true }
        }
        TaskEvent::Succeeded(_) | TaskEvent::Dead(_) | TaskEvent::Expired(_) => {
            OwnerReply::Reported {
                seq,
                retries: false,
            }
        }
        _ => return None,
    })
}

impl WorkerReport {
    /// How the report ends the claim, if it does.
    #[must_use]
    pub fn settles(&self) -> Option<Settled> {
        match self {
            Self::Complete { .. } => Some(Settled::Completed),
            Self::Fail { .. } => Some(Settled::Failed),
            Self::Release => Some(Settled::Released),
            Self::Progress { .. } => None,
        }
    }
}
