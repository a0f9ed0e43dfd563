//! Claims of workers and their reports: between the messages of gateways and the dispatcher.

use std::time::Duration;

use metrics::counter;
use waybill_domain::command::{ClaimRequest, ClaimedTask, Encoded, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::{Claim, LeaseGranted, Report, Ticket};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::worker::WorkersRequest;

use super::Serving;
use crate::command::Command;

/// Limit of the creations that come with one reply. The gateway reads the others from the log.
const MAX_CARRIED_BYTES: usize = 512 * 1024;

impl Serving<'_> {
    /// A worker asks for tasks: it is answered when it is given some, or has waited long enough.
    pub(super) fn claim(&mut self, command: Command) {
        let OwnerRequest::Claim(request) = command.request else {
            return;
        };
        let ticket = self.ticket();
        self.tickets.insert(ticket, command.reply);
        let ClaimRequest {
            team,
            queues,
            max,
            wait_ms,
            lease_ms,
            worker,
            ask,
            is_repeated,
            actor,
        } = request;
        let claim = Claim {
            team,
            queues,
            max: usize::try_from(max).unwrap_or(usize::MAX),
            wait: Duration::from_millis(wait_ms.into()),
            lease_ms,
            worker,
            ask,
            is_repeated,
            actor,
            ticket,
        };
        let now = self.parts.executor.clock.times();
        let mut actions = Vec::new();
        self.dispatcher.claim(claim, now, &mut actions);
        self.carry_out(actions);
    }

    pub(super) fn withdraw_claim(&mut self, team: &TeamId, queues: &[QueueName], ask: u64) {
        let now = self.parts.executor.clock.times();
        let mut actions = Vec::new();
        self.dispatcher
            .withdraw_claim((team, ask), queues, now, &mut actions);
        self.carry_out(actions);
    }

    /// A worker reports about a task that is known here, or was: everything before is read.
    pub(super) fn report(&mut self, command: Command) {
        let OwnerRequest::Report {
            task,
            attempt,
            team,
            what,
            actor,
            only,
            holder,
        } = command.request
        else {
            return;
        };
        let ticket = self.ticket();
        self.tickets.insert(ticket, command.reply);
        let report = Report {
            task,
            attempt,
            team,
            what,
            actor,
            only,
            holder,
            ticket,
        };
        let now = self.parts.executor.clock.times();
        let mut actions = Vec::new();
        self.dispatcher.report(report, now, &mut actions);
        self.carry_out(actions);
    }

    /// Something about workers, which nothing is stored of.
    pub(super) fn about_workers(&mut self, request: &WorkersRequest) -> OwnerReply {
        let now = self.parts.executor.clock.times();
        match request {
            WorkersRequest::Beat {
                team,
                worker,
                registration,
            } => {
                let registration = registration.clone();
                self.dispatcher
                    .worker_beats(team, worker, registration, now);
                OwnerReply::Noted
            }
            WorkersRequest::Forget { team, worker } => {
                self.dispatcher.forget_worker(team, worker);
                OwnerReply::Noted
            }
            WorkersRequest::Tell { team, worker } => {
                let told = self.dispatcher.tell_workers(team, worker.as_ref(), now);
                OwnerReply::Workers(told)
            }
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// Answers a claim whose starts are stored.
    pub(super) fn claimed(&mut self, ticket: Ticket, leases: Vec<LeaseGranted>) {
        let waiting = self.tickets.remove(&ticket);
        // The lease was lost while the starts were being stored: what was paused since is not known,
        // so nothing is given away. It uses up no retry.
        if !leases.is_empty() && !self.parts.may_start() {
            let now = self.parts.executor.clock.times();
            for lease in leases {
                self.dispatcher
                    .attempt_released(lease.task, lease.attempt, now);
            }
            return;
        }
        counter!("waybill_tasks_started_total").increment(leases.len() as u64);
        let mut room = MAX_CARRIED_BYTES;
        let payloads = &self.parts.executor.payloads;
        let tasks = leases.into_iter().map(|lease| {
            let creation = payloads.get(lease.created);
            let creation = creation.filter(|payload| payload.len() <= room);
            room -= creation.as_ref().map_or(0, bytes::Bytes::len);
            ClaimedTask {
                task: lease.task,
                attempt: lease.attempt,
                stored: lease.created,
                started: lease.started,
                lease_ms: lease.lease_ms,
                creation: creation.map(|payload| Encoded(payload.to_vec())),
                given: self.dispatcher.given_to(lease.task).to_vec(),
            }
        });
        let reply = OwnerReply::Claimed(tasks.collect());
        if let Some(waiting) = waiting {
            // If the gateway is gone, the leases run out.
            let _ = waiting.send(reply);
        }
    }

    /// Sends the claims that wait to the next owner.
    pub(super) fn turn_away_claims(&mut self) {
        let mut actions = Vec::new();
        self.dispatcher.turn_away_claims(&mut actions);
        self.carry_out(actions);
    }
}
