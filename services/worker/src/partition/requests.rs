//! Requests of clients: answered from what the dispatcher knows, once that is certainly all there is to know.

use std::sync::Arc;

use waybill_domain::command::OwnerRequest;
use waybill_domain::dispatcher::{Cancel, Ticket};
use waybill_log::subject::TaskFilter;
use waybill_log::{Stream, StreamSeq};

use super::Serving;
use crate::command::Command;
use crate::lease::KeptLease;

/// Requests about unknown tasks that are looked up at once. Beyond it clients are asked to try again.
const MAX_BEHIND: usize = 256;

impl Serving<'_> {
    pub(super) fn command(&mut self, command: Command) {
        let OwnerRequest::Cancel { task, .. } = &command.request;
        if self.dispatcher.knows(*task) {
            return self.decide(command);
        }
        if self.looked_up.len() + self.behind.len() >= MAX_BEHIND {
            return;
        }
        // It has ended, or it was created a moment ago and we have not read that yet.
        let log = Arc::clone(&self.parts.caller.log);
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

    /// Looks again at the requests that waited for what has been read now.
    pub(super) fn caught_up(&mut self, lease: &KeptLease) {
        for (last, command) in std::mem::take(&mut self.behind) {
            if lease.is_held() {
                self.when_read(last, command);
            }
        }
    }

    fn decide(&mut self, command: Command) {
        let OwnerRequest::Cancel {
            task,
            team,
            actor,
            traceparent,
        } = command.request;
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, command.reply);
        let mut actions = Vec::new();
        let now = self.parts.caller.clock.times();
        self.dispatcher.cancel(
            Cancel {
                task,
                team,
                actor,
                traceparent,
                ticket,
            },
            now,
            &mut actions,
        );
        self.carry_out(actions);
    }
}
