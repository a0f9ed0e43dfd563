//! The callers that wait for a change to hold everywhere, and the marks that they share.
//!
//! Callers that arrive while a mark is being stored share the next one. As long as no lease must be
//! waited out, the next mark is raised as soon as the last one is stored. Otherwise marks are
//! raised at intervals, so that few are open at a time however many callers there are. The same
//! after one was not stored: a stream without a leader refuses at once.
//!
//! Marks are what clients make FENCE grow by, with each change of access. It keeps them for an hour,
//! in the room that leases of gateways and workers need too. So when it is half full, marks are a
//! second apart, and callers share them: however much clients change, they then take no more of the
//! room than the renewals of a few leases.

use std::time::Duration;

use metrics::{counter, histogram};
use tokio::sync::oneshot;
use waybill_domain::access::fence::{Barrier, BarrierState, FenceTiming, Holders, Uptime};
use waybill_log::{Bounds, StreamSeq};

/// Interval between two marks while one is open, and after one that was not stored.
const MARK_SPACING: Duration = Duration::from_millis(100);
/// Interval between two marks while FENCE is half full.
const SCARCE_SPACING: Duration = Duration::from_secs(1);

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
    /// Whether FENCE is half full.
    is_scarce: bool,
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
        if self.is_scarce {
            return Some(last.plus(SCARCE_SPACING));
        }
        (self.has_failed || !self.open.is_empty()).then(|| last.plus(MARK_SPACING))
    }

    /// Takes in how full FENCE is.
    pub(crate) fn looked(&mut self, fence: &Bounds) {
        let is_scarce = fence.max_bytes.is_some_and(|max| fence.bytes >= max / 2);
        if is_scarce && !self.is_scarce {
            tracing::warn!(
                bytes = fence.bytes,
                max_bytes = fence.max_bytes,
                "FENCE is half full: changes of access share a mark each second, so that leases keep their room (runbook: the log is full)"
            );
        }
        self.is_scarce = is_scarce;
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
    use waybill_domain::time::Timestamp;
    use waybill_log::Positions;

    use super::*;

    fn full_to(bytes: u64, max_bytes: Option<u64>) -> Bounds {
        Bounds {
            messages: 0,
            positions: Positions::OF_MESSAGES,
            first: StreamSeq(1),
            last: StreamSeq(1),
            incarnation: 1,
            bytes,
            max_bytes,
            now: Timestamp(0),
        }
    }

    /// How many marks there are within an hour if somebody changes access every 10 ms, and each mark
    /// is reached at once.
    fn marks_in_an_hour(fence: &Bounds) -> u64 {
        let mut barriers = Barriers::default();
        barriers.looked(fence);
        let mut marks = 0;
        for millis in (0..3_600_000).step_by(10) {
            let (answer, _answered) = oneshot::channel();
            let control = StreamSeq(7);
            barriers.call(Call { control, answer });
            if barriers
                .raise(Uptime(Duration::from_millis(millis)))
                .is_some()
            {
                barriers.raising = None;
                marks += 1;
            }
        }
        marks
    }

    #[test]
    fn marks_leave_leases_their_room_whatever_clients_change() {
        const MIB: u64 = 1 << 20;
        assert_eq!(marks_in_an_hour(&full_to(2 * MIB, Some(4 * MIB))), 3_600);
        // As long as there is room, and where no limit is set, nobody waits for the next second.
        assert_eq!(marks_in_an_hour(&full_to(MIB, Some(4 * MIB))), 360_000);
        assert_eq!(marks_in_an_hour(&full_to(9 * MIB, None)), 360_000);
    }

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
