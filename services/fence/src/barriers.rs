//! The callers that wait for a change to hold everywhere, and the marks that they share.
//!
//! Callers that arrive while a mark is being stored share the next one. As long as no lease must be
//! waited out, the next mark is raised as soon as the last one is stored. Otherwise marks are
//! raised at intervals, so that few are open at a time however many callers there are. The same
//! after one was not stored: a stream without a leader refuses at once.

use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::oneshot;
use waybill_domain::access::fence::{Barrier, BarrierState, FenceTiming, Holders, Uptime};
use waybill_log::StreamSeq;

/// Interval between two marks while one is open, and after one that was not stored.
const MARK_SPACING: Duration = Duration::from_millis(100);

/// A request to be told when CONTROL up to `control` holds everywhere.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) control: StreamSeq,
    pub(crate) answer: oneshot::Sender<()>,
}

/// A mark to store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raised {
    /// The position of CONTROL that the mark requires.
    pub(crate) control: StreamSeq,
    /// When the mark was sent.
    pub(crate) at: Uptime,
}

/// Waiting callers, and the marks that they wait for.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// Callers for the next mark.
    waiting: Vec<Call>,
    /// Callers of the mark that is being stored.
    raising: Option<Vec<Call>>,
    last_raised: Option<Uptime>,
    /// Whether the last one was not stored, as far as is known.
    has_failed: bool,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    barrier: Barrier,
    raised: Raised,
    calls: Vec<Call>,
}

impl Barriers {
    pub(crate) fn call(&mut self, call: Call) {
        self.waiting.push(call);
    }

    /// Returns the mark that should be stored now, if any.
    pub(crate) fn raise(&mut self, now: Uptime) -> Option<Raised> {
        // A caller that has given up, for example because its connection closed, needs no mark.
        self.waiting.retain(|call| !call.answer.is_closed());
        let is_spaced = self.spaced_at().is_none_or(|at| now >= at);
        if self.raising.is_some() || self.waiting.is_empty() || !is_spaced {
            return None;
        }
        let calls = std::mem::take(&mut self.waiting);
        let control = calls.iter().map(|call| call.control).max()?;
        self.raising = Some(calls);
        self.last_raised = Some(now);
        Some(Raised { control, at: now })
    }

    fn spaced_at(&self) -> Option<Uptime> {
        let last = self.last_raised?;
        (self.has_failed || !self.open.is_empty()).then(|| last.plus(MARK_SPACING))
    }

    /// Records that the mark is stored. `now` must be read after that.
    pub(crate) fn stored(
        &mut self,
        raised: Raised,
        mark: StreamSeq,
        now: Uptime,
        timing: &FenceTiming,
    ) {
        let calls = self.raising.take().unwrap_or_default();
        self.has_failed = false;
        self.open.push(Open {
            barrier: Barrier::new(mark, now, timing),
            raised,
            calls,
        });
    }

    /// Records that the mark may not be stored. Its callers share the next one.
    pub(crate) fn failed(&mut self) {
        self.has_failed = true;
        self.waiting.extend(self.raising.take().unwrap_or_default());
    }

    /// Answers the callers whose wait is over. Returns up to where CONTROL is now known to hold
    /// everywhere, if that has changed.
    pub(crate) fn settle(&mut self, holders: &Holders, now: Uptime) -> Option<StreamSeq> {
        let mut everywhere = None;
        let mut still_open = Vec::new();
        for open in self.open.drain(..) {
            let outcome = match open.barrier.state(holders, now) {
                BarrierState::Waiting { .. } => {
                    still_open.push(open);
                    continue;
                }
                BarrierState::Reached => "reached",
                BarrierState::Expired => "expired",
            };
            counter!("waybill_fence_barriers_total", "outcome" => outcome).increment(1);
            histogram!("waybill_fence_barrier_seconds").record(now.since(open.raised.at));
            everywhere = everywhere.max(Some(open.raised.control));
            for call in open.calls {
                // A caller that has given up needs no answer.
                let _ = call.answer.send(());
            }
        }
        self.open = still_open;
        everywhere
    }

    /// When to check again, even if nothing happens before.
    pub(crate) fn next_look(&self, holders: &Holders, now: Uptime) -> Option<Uptime> {
        let waits = self
            .open
            .iter()
            .map(|open| match open.barrier.state(holders, now) {
                BarrierState::Waiting { until } => until,
                BarrierState::Reached | BarrierState::Expired => now,
            });
        let raise = (!self.waiting.is_empty() && self.raising.is_none())
            .then(|| self.spaced_at().unwrap_or(now));
        waits.chain(raise).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_was_not_stored_is_raised_again_after_a_pause() {
        let mut barriers = Barriers::default();
        let (answer, _answered) = oneshot::channel();
        let control = StreamSeq(7);
        barriers.call(Call { control, answer });
        let at = |millis| Uptime(Duration::from_millis(millis));
        // Each is refused within a millisecond.
        let raised = (0..1_000).filter(|millis| {
            let raised = barriers.raise(at(*millis));
            if raised.is_some() {
                barriers.failed();
            }
            raised.is_some()
        });
        assert_eq!(raised.count(), 10);
        // Once marks are stored again, those for callers that come later follow at once.
        let raised = barriers.raise(at(1_000)).expect("its caller still waits");
        let timing = FenceTiming::default();
        barriers.stored(raised, StreamSeq(1), at(1_001), &timing);
        assert!(barriers.spaced_at().is_some(), "it is open");
        barriers.open.clear();
        let (answer, _answered) = oneshot::channel();
        barriers.call(Call { control, answer });
        assert!(barriers.raise(at(1_002)).is_some());
    }
}
