//! One wait until a mark holds everywhere.

use super::holders::Holders;
use super::timing::{FenceTiming, Uptime};
use crate::seq::StreamSeq;

/// A mark that FENCE has stored, and since when that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    mark: StreamSeq,
    /// Every lease that stood before the mark is over then.
    ends: Uptime,
}

/// How a barrier stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarrierState {
    /// Somebody may still decide without the mark's effect. Nothing but acknowledgements changes that before the given reading.
    Waiting {
        /// When to look again at the latest.
        until: Uptime,
    },
    /// Everybody who may decide has come to the mark.
    Reached,
    /// Whoever has not come to the mark cannot hold a lease that is older than it.
    Expired,
}

impl Barrier {
    /// FENCE has acknowledged the mark at the place `mark`. `acknowledged` must be read after that: a lease that was stored just
    /// before the mark lasts from then.
    #[must_use]
    pub fn new(mark: StreamSeq, acknowledged: Uptime, timing: &FenceTiming) -> Self {
        Self {
            mark,
            ends: acknowledged.plus(timing.horizon()),
        }
    }

    /// Where the mark stands.
    #[must_use]
    pub fn mark(&self) -> StreamSeq {
        self.mark
    }

    /// How it stands now.
    #[must_use]
    pub fn state(&self, holders: &Holders, now: Uptime) -> BarrierState {
        if now > self.ends {
            return BarrierState::Expired;
        }
        if holders.last_read() < self.mark {
            // Who holds a lease that stands before the mark is not known yet.
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
