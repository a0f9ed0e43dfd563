//! The wait until one mark holds on every gateway and worker.

use super::holders::Holders;
use super::timing::{FenceTiming, Uptime};
use crate::seq::StreamSeq;

/// A mark that FENCE has stored, and the moment by which all older leases have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    mark: StreamSeq,
    /// By then, every lease that stood before the mark has ended.
    ends: Uptime,
}

/// Progress of a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierState {
    /// A holder may still decide without the mark's effect. Until the given reading, only an
    /// acknowledgement can change that.
    Waiting {
        /// When to check again at the latest.
        until: Uptime,
    },
    /// Every holder that may decide has reached the mark.
    Reached,
    /// The wait has outlasted every lease older than the mark, so holders that have not reached it
    /// cannot decide.
    Expired,
}

impl Barrier {
    /// Begins the wait for the mark that FENCE stored at sequence `mark`. `acknowledged` must be
    /// read after the acknowledgement of that publish: a lease stored just before the mark lasts
    /// from then.
    #[must_use]
    pub fn new(mark: StreamSeq, acknowledged: Uptime, timing: &FenceTiming) -> Self {
        Self {
            mark,
            ends: acknowledged.plus(timing.horizon()),
        }
    }

    #[must_use]
    pub fn mark(&self) -> StreamSeq {
        self.mark
    }

    /// Progress of the wait at the reading `now`.
    #[must_use]
    pub fn state(&self, holders: &Holders, now: Uptime) -> BarrierState {
        if now > self.ends {
            return BarrierState::Expired;
        }
        if holders.last_read() < self.mark {
            // Not every record before the mark has been read, so unknown holders may exist.
            return BarrierState::Waiting { until: self.ends };
        }
        let behind = holders.behind(self.mark, now).map(|(_, until)| until);
        match behind.chain(holders.blind_until(now)).max() {
            Some(until) => BarrierState::Waiting {
                until: until.min(self.ends),
            },
            None => BarrierState::Reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::fence::record::{
        FenceRecord, GatewayId, HolderId, LeaseKind, LeaseRecord, MarkRecord,
    };

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    fn with_a_lease(of: u64, seq: u64, now: u64, holders: &mut Holders) {
        let record = FenceRecord::Lease(LeaseRecord {
            gateway: GatewayId::new(of),
            kind: LeaseKind::Gateway,
            applied: StreamSeq(0),
            control: StreamSeq(0),
            released: false,
        });
        holders.read(StreamSeq(seq), Some(&record), at(now));
    }

    fn with_a_mark(seq: u64, now: u64, holders: &mut Holders) {
        let record = FenceRecord::Mark(MarkRecord {
            gateway: GatewayId::new(9),
            control: StreamSeq(0),
        });
        holders.read(StreamSeq(seq), Some(&record), at(now));
    }

    #[test]
    fn it_waits_for_everybody_known_and_for_its_own_reading() {
        let timing = FenceTiming::default();
        let mut holders = Holders::before(StreamSeq(1), at(0), &timing);
        with_a_lease(1, 1, 0, &mut holders);
        with_a_lease(2, 2, 0, &mut holders);
        let barrier = Barrier::new(StreamSeq(3), at(1), &timing);
        for gateway in [1, 2] {
            let gateway = HolderId::new(LeaseKind::Gateway, GatewayId::new(gateway));
            holders.acknowledged(&gateway, StreamSeq(3), at(1));
        }
        assert!(matches!(
            barrier.state(&holders, at(1)),
            BarrierState::Waiting { .. }
        ));
        with_a_mark(3, 1, &mut holders);
        assert_eq!(barrier.state(&holders, at(1)), BarrierState::Reached);
        with_a_lease(3, 4, 1, &mut holders);
        assert!(matches!(
            barrier.state(&holders, at(1)),
            BarrierState::Waiting { .. }
        ));
    }

    #[test]
    fn who_has_missed_records_outlasts_everybody() {
        let timing = FenceTiming::default();
        let mut holders = Holders::before(StreamSeq(5), at(0), &timing);
        with_a_mark(5, 3, &mut holders);
        let barrier = Barrier::new(StreamSeq(5), at(3), &timing);
        let until = at(0).plus(timing.horizon());
        assert_eq!(
            barrier.state(&holders, at(4)),
            BarrierState::Waiting { until }
        );
        assert_eq!(barrier.state(&holders, at(13)), BarrierState::Reached);
    }

    #[test]
    fn a_holder_that_is_silent_is_outlasted() {
        let timing = FenceTiming::default();
        let mut holders = Holders::before(StreamSeq(1), at(0), &timing);
        with_a_lease(1, 1, 0, &mut holders);
        with_a_mark(2, 5, &mut holders);
        let barrier = Barrier::new(StreamSeq(2), at(5), &timing);
        let until = at(0).plus(timing.horizon());
        assert_eq!(
            barrier.state(&holders, at(5)),
            BarrierState::Waiting { until }
        );
        assert_eq!(barrier.state(&holders, at(13)), BarrierState::Reached);
        with_a_lease(1, 3, 13, &mut holders);
        let ends = at(5).plus(timing.horizon());
        assert_eq!(
            barrier.state(&holders, at(13)),
            BarrierState::Waiting { until: ends }
        );
        assert_eq!(barrier.state(&holders, at(18)), BarrierState::Expired);
    }
}
