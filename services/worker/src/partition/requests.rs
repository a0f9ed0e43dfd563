//! Requests of clients, answered from the dispatcher's state once that is certainly complete.

use std::sync::Arc;

use waybill_domain::command::{Blocker, MAX_EXPLAINED, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::{
    Cancel, CancelTogether, ChangePriority, Kept, PurgeLetter, RunNow, Ticket, Unblock, Wanted,
};
use waybill_domain::event::{Standing, TaskCreated, TaskEnd, TaskRestated};
use waybill_domain::id::{LimitKey, TaskId, TeamId};
use waybill_domain::task::History;
use waybill_log::subject::TaskFilter;
use waybill_log::{Stream, StreamSeq, TaskRecord, task_record};

use super::Serving;
use crate::bulkhead::Refusal;
use crate::command::Command;
use crate::lease::KeptLease;

/// Limit of request and answer that are stored with a repeated webhook: together with the rest,
/// they must fit into one message.
const MAX_KEPT_BYTES: usize = 768 * 1024;
/// Limit of requests about unknown tasks that are looked up at a time. Beyond it, clients are asked
/// to try again.
const MAX_BEHIND: usize = 256;

impl Serving<'_> {
    pub(super) fn command(&mut self, command: Command) {
        let task = match &command.request {
            OwnerRequest::Cancel { task, .. }
            | OwnerRequest::Explain { task, .. }
            | OwnerRequest::AskKept { task, .. }
            | OwnerRequest::RunNow { task, .. }
            | OwnerRequest::CancelWaiting { task, .. }
            | OwnerRequest::PurgeLetter { task, .. }
            | OwnerRequest::ChangePriority { task, .. }
            | OwnerRequest::Unblock { task, .. }
            | OwnerRequest::Report { task, .. } => task,
            OwnerRequest::CancelTogether { tasks, .. } => {
                match tasks.iter().find(|task| !self.dispatcher.knows(**task)) {
                    Some(task) => task,
                    None => return self.decide(command),
                }
            }
            OwnerRequest::Claim(_) => return self.claim(command),
            // They came one by one into the queue; this would be several within several.
            OwnerRequest::Several(_) => return,
            OwnerRequest::WithdrawClaim { team, queues, ask } => {
                self.withdraw_claim(team, queues, *ask);
                // The caller may be gone.
                let _ = command.reply.send(OwnerReply::Noted);
                return;
            }
            // The task has ended, and the request says where it is in the log.
            OwnerRequest::Redeliver { .. } => return self.read_for_redelivery(command),
            OwnerRequest::Health { hosts } => {
                let now = self.parts.executor.clock.times();
                let told = hosts.iter().map(|host| self.dispatcher.health(*host, now));
                // The caller may be gone.
                let _ = command.reply.send(OwnerReply::Health(told.collect()));
                return;
            }
            OwnerRequest::AskLimits(_)
            | OwnerRequest::NudgeLimits(_)
            | OwnerRequest::ListLimits { .. } => return self.limit_command(command),
            OwnerRequest::Workers(request) => {
                let reply = self.about_workers(request);
                // The caller may be gone.
                let _ = command.reply.send(reply);
                return;
            }
            OwnerRequest::ExplainMany { tasks, team, keys } => {
                let blockers = self.blockers(tasks, team);
                let reply = if *keys {
                    OwnerReply::ExplainedWithKeys(blockers)
                } else {
                    let blockers = blockers.into_iter().map(|(task, by, _)| (task, by));
                    OwnerReply::ExplainedMany(blockers.collect())
                };
                // The caller may be gone.
                let _ = command.reply.send(reply);
                return;
            }
        };
        if self.dispatcher.knows(*task) {
            return self.decide(command);
        }
        if self.looked_up.len() + self.behind.len() >= MAX_BEHIND {
            return;
        }
        // The task has ended, or was created a moment ago and is not read yet.
        let log = Arc::clone(&self.parts.executor.log);
        let filter = TaskFilter::created(self.parts.partition).to_string();
        self.looked_up.spawn(async move {
            let last = log.last(Stream::Tasks, &filter).await;
            let last = last.map(|record| record.map_or(StreamSeq(0), |record| record.seq));
            (command, last)
        });
    }

    pub(super) fn when_read(&mut self, last: StreamSeq, command: Command) {
        if last <= self.dispatcher.position() {
            self.decide(command);
        } else {
            self.behind.push((last, command));
        }
    }

    /// Decides the requests that waited for what has been read now.
    pub(super) fn caught_up(&mut self, lease: &KeptLease) {
        for (last, command) in std::mem::take(&mut self.behind) {
            if lease.is_held() {
                self.when_read(last, command);
            }
        }
    }

    fn decide(&mut self, command: Command) {
        if let OwnerRequest::Report { .. } = &command.request {
            return self.report(command);
        }
        let Command { request, reply } = command;
        if let OwnerRequest::Explain { task, team } = &request {
            // The caller may be gone.
            let _ = reply.send(self.explain(*task, team));
            return;
        }
        if let OwnerRequest::AskKept { task, team } = &request {
            let reply_now = match self.dispatcher.kept(*task, team) {
                Kept::Open => OwnerReply::Noted,
                // Only the log says for certain that it ends.
                Kept::Ending => OwnerReply::TryAgain,
                Kept::NotOpen => OwnerReply::NotOpen,
            };
            // The caller may be gone.
            let _ = reply.send(reply_now);
            return;
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let mut actions = Vec::new();
        let now = self.parts.executor.clock.times();
        match request {
            OwnerRequest::Cancel {
                task,
                team,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = Cancel {
                    task,
                    team,
                    actor,
                    traceparent,
                    ticket,
                    only_waiting: false,
                };
                self.dispatcher.cancel(request, now, &mut actions);
            }
            OwnerRequest::RunNow {
                task,
                team,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = RunNow {
                    task,
                    team,
                    actor,
                    traceparent,
                    ticket,
                };
                self.dispatcher.run_now(request, now, &mut actions);
            }
            OwnerRequest::Unblock {
                task,
                team,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = Unblock {
                    task,
                    team,
                    actor,
                    traceparent,
                    ticket,
                };
                self.dispatcher.unblock(request, now, &mut actions);
            }
            OwnerRequest::CancelWaiting {
                task,
                team,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = Cancel {
                    task,
                    team,
                    actor,
                    traceparent,
                    ticket,
                    only_waiting: true,
                };
                self.dispatcher.cancel(request, now, &mut actions);
            }
            OwnerRequest::PurgeLetter {
                task,
                team,
                queue,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = PurgeLetter {
                    task,
                    team,
                    queue,
                    actor,
                    traceparent,
                    ticket,
                };
                self.dispatcher.purge_letter(request, now, &mut actions);
            }
            OwnerRequest::ChangePriority {
                task,
                team,
                priority,
                operation,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = ChangePriority {
                    task,
                    team,
                    priority,
                    operation,
                    actor,
                    traceparent,
                    ticket,
                };
                self.dispatcher.change_priority(request, now, &mut actions);
            }
            OwnerRequest::CancelTogether {
                tasks,
                team,
                actor,
                traceparent,
            } => {
                self.tickets.insert(ticket, reply);
                let request = CancelTogether {
                    tasks,
                    team,
                    actor,
                    traceparent,
                    ticket,
                };
                self.dispatcher.cancel_together(request, now, &mut actions);
            }
            OwnerRequest::Explain { .. }
            | OwnerRequest::AskKept { .. }
            | OwnerRequest::Redeliver { .. }
            | OwnerRequest::Health { .. }
            | OwnerRequest::AskLimits(_)
            | OwnerRequest::NudgeLimits(_)
            | OwnerRequest::ListLimits { .. }
            | OwnerRequest::Claim(_)
            | OwnerRequest::Several(_)
            | OwnerRequest::WithdrawClaim { .. }
            | OwnerRequest::Workers(_)
            | OwnerRequest::Report { .. }
            | OwnerRequest::ExplainMany { .. } => return,
        }
        self.carry_out(actions);
    }

    fn limit_command(&mut self, command: Command) {
        let reply = match &command.request {
            OwnerRequest::AskLimits(ask) => self.asked(ask),
            OwnerRequest::NudgeLimits(nudge) => Some(self.nudged(nudge)),
            OwnerRequest::ListLimits { team, key } => Some(self.standings(team, key.as_ref())),
            _ => None,
        };
        if let Some(reply) = reply {
            // The caller may be gone.
            let _ = command.reply.send(reply);
        }
    }

    fn explain(&self, task: TaskId, team: &TeamId) -> OwnerReply {
        let now = self.parts.executor.clock.times();
        let lacks = |wanted| self.lacks(&wanted);
        match self.dispatcher.explain(task, team, now, lacks) {
            Some(explained) => OwnerReply::Explained(explained),
            None => OwnerReply::NotOpen,
        }
    }

    /// What keeps tasks of a list from running.
    fn blockers(
        &self,
        tasks: &[TaskId],
        team: &TeamId,
    ) -> Vec<(TaskId, Option<Blocker>, Option<LimitKey>)> {
        let asked = tasks.iter().take(MAX_EXPLAINED);
        let now = self.parts.executor.clock.times();
        asked
            .filter_map(|&task| {
                let lacks = |wanted| self.lacks(&wanted);
                let (blocker, key) = self.dispatcher.blocker(task, team, now, lacks)?;
                Some((task, blocker, key))
            })
            .collect()
    }

    /// Why there is no slot for a call, if that is so.
    fn lacks(&self, wanted: &Wanted) -> Option<Blocker> {
        let lacks = self.parts.bulkhead.lacks(wanted.compartment)?;
        Some(match lacks {
            Refusal::TeamFull => Blocker::TeamFull,
            Refusal::HostFull => Blocker::HostFull,
            Refusal::Paused => Blocker::WorkerPauses,
            Refusal::NoGeneralSlot | Refusal::NoSlot | Refusal::NoWebhookSlot => Blocker::NoSlot,
        })
    }

    /// Reads the request and the end of an ended task, beside the partition's other work.
    fn read_for_redelivery(&mut self, command: Command) {
        let OwnerRequest::Redeliver {
            task,
            team,
            stored,
            ended,
            ..
        } = &command.request
        else {
            return;
        };
        // Dropping the request asks the client to try again.
        if self.reading.len() >= MAX_BEHIND {
            return;
        }
        let (task, team, stored, ended) = (*task, team.clone(), *stored, *ended);
        let log = Arc::clone(&self.parts.executor.log);
        self.reading.spawn(async move {
            let read = async |seq| {
                let record = log.read(Stream::Tasks, seq).await.ok()??;
                match task_record(&record) {
                    Ok(TaskRecord::Event(event)) => Some(event),
                    Ok(TaskRecord::Owned(..)) | Err(_) => None,
                }
            };
            let found = async {
                let created = read(stored).await?.into_request()?;
                let end = read(ended).await?.into_end()?;
                (created.id == task && created.team == team && created.on_complete_url.is_some())
                    .then_some((created, end))
            };
            (command, found.await)
        });
    }

    /// Sends the webhook of a task again, as read from the log.
    pub(super) fn redeliver(&mut self, command: Command, found: Option<(TaskCreated, TaskEnd)>) {
        let OwnerRequest::Redeliver {
            position,
            attempts,
            failures,
            cancel_requested,
            history,
            changed_priority,
            actor,
            traceparent,
            ..
        } = command.request
        else {
            return;
        };
        let Some((mut created, end)) = found else {
            // The caller may be gone.
            let _ = command.reply.send(OwnerReply::NotOpen);
            return;
        };
        // The call has ended, so its credentials are no longer needed. The body is kept so that
        // clients can read it, unless one message could not hold it.
        created.sealed = None;
        let weight =
            created.stored_bytes() as usize + end.answer().map_or(0, |answer| answer.body.len());
        if weight > MAX_KEPT_BYTES {
            created.body = None;
        }
        let now = self.parts.executor.clock.times();
        let event = TaskRestated {
            created,
            position,
            at: now.wall,
            standing: Standing::Ended {
                deliveries: 0,
                due: now.wall,
                from: Some(now.wall),
                end: Box::new(end),
            },
            attempts,
            failures,
            lost: 0,
            uncounted: 0,
            first_start: None,
            last_failure: None,
            cancel_requested,
            span: None,
            changed_priority,
            order_place: None,
            blocks: None,
            member: None,
            history: History {
                callback: None,
                ..*history
            },
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, command.reply);
        let mut actions = Vec::new();
        self.dispatcher
            .redeliver(event, (actor, traceparent, ticket), now, &mut actions);
        self.carry_out(actions);
    }
}
