//! Appends of an owner: it stores its decisions, one append at a time, under its fence.

use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use tokio::time::Instant;
use waybill_domain::actor::Actor;
use waybill_domain::dispatcher::Decision;
use waybill_domain::event::TaskEvent;
use waybill_domain::partition::Partition;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Expectation, Mark, NewRecord, Stream, StreamSeq,
};

use super::{Exit, Serving};
use crate::takeover;

/// Limit of the decisions in one append. In larger appends, calls wait longer until their start is
/// stored.
pub(super) const MAX_APPEND: usize = 250;
/// Shortest and longest pause after an append that the log did not take.
const APPEND_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_APPEND_PAUSE: Duration = Duration::from_secs(2);

impl Serving<'_> {
    pub(super) fn append(&mut self) {
        if self.appending.is_some() || Instant::now() < self.append_at {
            return;
        }
        if self.append_mark() {
            return;
        }
        let partition = self.parts.partition;
        let Some(decisions) = self.dispatcher.begin_append(self.at_once) else {
            self.renew_fence();
            return;
        };
        let records = decisions
            .iter()
            .map(|decision| record(partition, decision))
            .collect();
        let atomicity = if decisions.iter().any(Decision::is_joined) {
            Atomicity::Atomic
        } else {
            Atomicity::Ordered
        };
        let append = Append {
            stream: Stream::Tasks,
            records,
            expect: Expectation::LastOn {
                filter: TaskSubject::owner(partition).to_string(),
                seq: self.fence,
            },
            atomicity,
            msg_id: None,
        };
        let log = Arc::clone(&self.parts.executor.log);
        self.appending = Some(async move { log.append(append).await }.boxed());
    }

    /// Appends the fence again if a snapshot is due because of creations, while nothing was
    /// appended: only an append that the server accepts proves that no other worker has appended
    /// events that the snapshot would hide.
    fn renew_fence(&mut self) {
        if !self.certainty_is_due() {
            return;
        }
        let executor = &self.parts.executor;
        let append = takeover::owned(
            self.parts.partition,
            &self.parts.worker,
            executor.clock.now(),
            self.low.stored(),
            self.fence,
        );
        let log = Arc::clone(&executor.log);
        self.renewing = true;
        self.appending = Some(async move { log.append(append).await }.boxed());
    }

    pub(super) fn appended(&mut self, result: Result<Appended, AppendError>) -> Option<Exit> {
        let result = match self.marked(result) {
            Ok(exit) => return exit,
            Err(result) => result,
        };
        if let Ok(appended) = &result {
            self.stored(&appended.seqs);
        }
        let partition = self.parts.partition;
        let renewing = std::mem::take(&mut self.renewing);
        match result {
            Ok(appended) if renewing => {
                self.append_failures = 0;
                if let Some(&fence) = appended.seqs.first() {
                    self.fence = fence;
                    self.dispatcher.let_through(fence);
                }
                None
            }
            Ok(appended) => {
                self.append_failures = 0;
                self.at_once = MAX_APPEND.min(2 * self.at_once);
                let mut actions = Vec::new();
                self.dispatcher.appended(&appended.seqs, &mut actions);
                self.carry_out(actions);
                None
            }
            Err(AppendError::Conflict { .. }) => {
                tracing::warn!(%partition, "another worker owns the partition now");
                Some(Exit::Fenced)
            }
            Err(AppendError::Unknown { reason }) => Some(Exit::Uncertain(reason)),
            Err(
                error @ (AppendError::Unavailable { .. }
                | AppendError::Full { .. }
                | AppendError::Rejected { .. }),
            ) => {
                self.dispatcher.not_appended();
                if matches!(error, AppendError::Full { .. }) {
                    self.at_once = (self.at_once / 2).max(1);
                }
                let pause = APPEND_PAUSE
                    .saturating_mul(1 << self.append_failures.min(8))
                    .min(LONGEST_APPEND_PAUSE);
                self.append_failures += 1;
                self.append_at = Instant::now() + pause;
                match error {
                    AppendError::Rejected { .. } => {
                        tracing::error!(%partition, %error, "the log rejects the partition's results; trying again");
                    }
                    AppendError::Full { .. } => tracing::error!(
                        %partition, %error,
                        "no room is left for results; they are stored as soon as something is removed (ops/README.md, \"the log is full\")"
                    ),
                    _ => {
                        tracing::warn!(%partition, %error, "the log does not answer; results of calls are kept and stored later");
                    }
                }
                None
            }
        }
    }

    /// Records how far the log must reach, since it has acknowledged these appends. The records
    /// were not read back, so only the end of the log is compared.
    fn stored(&mut self, seqs: &[StreamSeq]) {
        self.since_snapshot.events += seqs.len() as u64;
        self.since_snapshot.let_through();
        if !self.renewing {
            self.stored += seqs.len() as u64;
        }
        if let Some(&seq) = seqs.last().filter(|seq| **seq > self.mark.seq) {
            self.mark = Mark {
                seq,
                fingerprint: None,
                ..self.mark
            };
        }
    }
}

/// The record of a decision.
fn record(partition: Partition, decision: &Decision) -> NewRecord {
    let event = &decision.event;
    let actor = decision.actor.clone().unwrap_or_else(Actor::worker);
    NewRecord {
        subject: TaskSubject::event(partition, &decision.team, &decision.queue, event.kind())
            .to_string(),
        event: event.name(),
        actor: actor.to_string(),
        traceparent: decision.traceparent.clone(),
        origin: None,
        payload: TaskEvent::encode(event).into(),
    }
}
