//! Decisions on their way into the log: queued, in flight, and stored or not.

use super::open::Open;
use super::{Action, Decision, Dispatcher, Ticket, attempt, reports};
use crate::command::OwnerReply;
use crate::event::TaskEvent;
use crate::seq::StreamSeq;

/// Limit of the bytes of one append. The server limits what it buffers of a batch, and so does the
/// appender.
pub(super) const APPEND_BYTES: usize = 4 * 1024 * 1024;

impl Dispatcher {
    /// Returns up to `max` decisions to append, in order and of not much more than
    /// [`APPEND_BYTES`]; `None` if an append is in flight or there is nothing to append. Those that
    /// are joined are returned by themselves and however many they are: all of them must be stored,
    /// or none.
    pub fn begin_append(&mut self, max: usize) -> Option<&[Decision]> {
        if !self.in_flight.is_empty() || self.decided.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let decided = self.decided.iter();
        let joined = decided.take_while(|decision| decision.is_joined).count();
        let count = if joined > 0 {
            joined + 1
        } else {
            let decided = self.decided.iter().take(max);
            let some = decided.take_while(|decision| {
                let fits = bytes < APPEND_BYTES;
                bytes += attempt::weight(&decision.event);
                fits && !decision.is_joined
            });
            some.count()
        };
        self.in_flight.extend(self.decided.drain(..count));
        Some(&self.in_flight)
    }

    /// Whether an append is in flight.
    #[must_use]
    pub fn is_appending(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether decisions wait to be appended.
    #[must_use]
    pub fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// The log has stored the decisions in flight at these sequences: they take effect.
    pub fn appended(&mut self, seqs: &[StreamSeq], actions: &mut Vec<Action>) {
        assert_eq!(
            seqs.len(),
            self.in_flight.len(),
            "each decision has its sequence"
        );
        for (decision, &seq) in std::mem::take(&mut self.in_flight).into_iter().zip(seqs) {
            self.certain = self.certain.max(seq);
            if let TaskEvent::Restated(restated) = &decision.event {
                self.restated(seq, decision.traceparent.as_deref(), restated);
                continue;
            }
            if let TaskEvent::CallbackRequested(requested) = &decision.event {
                self.callback_requested(seq, decision.traceparent.as_deref(), requested);
                if let Some(ticket) = decision.ticket {
                    let reply = OwnerReply::Done { seq };
                    actions.push(Action::Reply { ticket, reply });
                }
                continue;
            }
            if let TaskEvent::TargetDisabled(_) = &decision.event {
                continue;
            }
            if let TaskEvent::LimitPaused(paused) = &decision.event {
                self.limit_paused(Some(seq), paused, Some(decision.decided));
                continue;
            }
            if let Some(task) = self.tasks.get_mut(&decision.event.id())
                && !matches!(
                    decision.event,
                    TaskEvent::CancelRequested(_) | TaskEvent::Progressed(_)
                )
            {
                task.busy = false;
            }
            self.evolve(seq, &decision.event, Some(decision.decided), actions);
            let Some(ticket) = decision.ticket else {
                continue;
            };
            if let TaskEvent::Started(started) = &decision.event {
                self.claim_stored(ticket, seq, started, actions);
                continue;
            }
            let task = self.tasks.get(&decision.event.id());
            let holder = task.and_then(Open::lease);
            let holder = holder.map(|lease| lease.worker.as_ref());
            let reply = reports::reply(&decision.event, seq, holder);
            let reply = reply.unwrap_or(OwnerReply::Done { seq });
            actions.push(Action::Reply { ticket, reply });
        }
        self.cancel_what_waits(actions);
    }

    /// Marks everything up to `position` as applied, including records that the shell did not have
    /// to pass in, or that cannot be read.
    pub fn replayed_to(&mut self, position: StreamSeq) {
        if position <= self.position {
            return;
        }
        self.position = position;
        for id in self.arriving.skipped() {
            self.arm(id);
        }
    }

    /// The log has accepted an append under this owner's fence at `seq`: up to there, no other
    /// owner has appended.
    pub fn let_through(&mut self, seq: StreamSeq) {
        self.certain = self.certain.max(seq);
    }

    /// The log has certainly stored none of the decisions in flight: they stay decided, and will be
    /// returned again.
    pub fn not_appended(&mut self) {
        for decision in std::mem::take(&mut self.in_flight).into_iter().rev() {
            self.decided.push_front(decision);
        }
    }

    /// Decisions about calls that may not have been stored. The next dispatcher in this process
    /// takes them over, so that no answer of a target is forgotten, and no call that was only
    /// announced counts as lost.
    #[must_use]
    pub fn into_unstored(self) -> Vec<TaskEvent> {
        self.in_flight
            .into_iter()
            .chain(self.decided)
            .map(|decision| decision.event)
            .filter(|event| attempt::call_of(event).is_some())
            // Of a claim nobody was told: if it is stored after all, its request is repeated.
            .filter(|event| !matches!(event, TaskEvent::Started(of) if of.claim.is_some()))
            .collect()
    }

    /// Tickets of all requests that wait for the log: whoever discards the dispatcher must answer
    /// them.
    #[must_use]
    pub fn waiting_tickets(&self) -> Vec<Ticket> {
        self.in_flight
            .iter()
            .chain(&self.decided)
            .filter_map(|decision| decision.ticket)
            .chain(self.claims.tickets())
            .chain(self.together.tickets())
            .collect()
    }
}
