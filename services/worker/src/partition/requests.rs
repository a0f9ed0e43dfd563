//! Requests of clients, answered from the dispatcher's state once that is certainly complete.

use std::sync::Arc;

use waybill_domain::command::{Blocker, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::{Cancel, RunNow, Ticket, Wanted};
use waybill_domain::event::{Standing, TaskCreated, TaskEnd, TaskRestated};
use waybill_domain::id::{TaskId, TeamId};
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
            | OwnerRequest::RunNow { task, .. } => task,
            // The task has ended, and the request says where it is in the log.
            OwnerRequest::Redeliver { .. } => return self.read_for_redelivery(command),
            OwnerRequest::Health { hosts } => {
                let now = self.parts.executor.clock.times();
                let told = hosts.iter().map(|host| self.dispatcher.health(*host, now));
                // The caller may be gone.
                let _ = command.reply.send(OwnerReply::Health(told.collect()));
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
        let Command { request, reply } = command;
        if let OwnerRequest::Explain { task, team } = &request {
            // The caller may be gone.
            let _ = reply.send(self.explain(*task, team));
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
            OwnerRequest::Explain { .. }
            | OwnerRequest::Redeliver { .. }
            | OwnerRequest::Health { .. } => return,
        }
        self.carry_out(actions);
    }

    fn explain(&self, task: TaskId, team: &TeamId) -> OwnerReply {
        let now = self.parts.executor.clock.times();
        let slots = |wanted: Wanted| {
            let lacks = self.parts.bulkhead.lacks(wanted.compartment)?;
            Some(match lacks {
                Refusal::TeamFull => Blocker::TeamFull,
                Refusal::HostFull => Blocker::HostFull,
                Refusal::Paused => Blocker::WorkerPauses,
                Refusal::NoGeneralSlot | Refusal::NoSlot | Refusal::NoWebhookSlot => {
                    Blocker::NoSlot
                }
            })
        };
        match self.dispatcher.explain(task, team, now, slots) {
            Some(explained) => OwnerReply::Explained(explained),
            None => OwnerReply::NotOpen,
        }
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
                end,
            },
            attempts,
            failures,
            lost: 0,
            uncounted: 0,
            first_start: None,
            last_failure: None,
            cancel_requested,
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
