//! A rate of starts, in the memory of one owner.

use std::time::Duration;

use crate::rate::StartRate;
use crate::time::Elapsed;

/// A token bucket by the monotonic clock. It begins empty, so that in no window of a length `w`,
/// whoever the owners were in it, more than `burst + limit * w / per` starts are allowed: an owner
/// that takes over knows nothing of the starts before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    rate: StartRate,
    /// What has flowed in and was not taken: a start costs `per_ms` of it, and `limit` flows in
    /// each millisecond. Whole numbers, so nothing is lost by rounding.
    level: u64,
    /// Until when the inflow is part of the level.
    at: Elapsed,
}

impl Bucket {
    pub(super) fn new(rate: StartRate, now: Elapsed) -> Self {
        Self {
            rate,
            level: 0,
            at: now,
        }
    }

    fn cost(self) -> u64 {
        u64::from(self.rate.per_ms.max(1))
    }

    fn inflow(self) -> u64 {
        u64::from(self.rate.limit.max(1))
    }

    fn level_at(self, now: Elapsed) -> u64 {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let most = self.cost().saturating_mul(self.rate.burst.max(1).into());
        self.level
            .saturating_add(passed.saturating_mul(self.inflow()))
            .min(most)
    }

    /// How many starts are allowed now.
    pub(super) fn starts(self, now: Elapsed) -> u64 {
        self.level_at(now) / self.cost()
    }

    /// Uses up one start.
    pub(super) fn take(&mut self, now: Elapsed) {
        self.level = self.level_at(now).saturating_sub(self.cost());
        self.at = self.at.max(now);
    }

    /// When a start is allowed; `None` if one is allowed now.
    pub(super) fn next_start(self, now: Elapsed) -> Option<Elapsed> {
        let missing = self
            .cost()
            .checked_sub(self.level_at(now))
            .filter(|missing| *missing > 0)?;
        Some(now.plus(Duration::from_millis(missing.div_ceil(self.inflow()))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_has_more_starts_than_stated_also_across_owners(
            limit in 1_u32..50,
            per_ms in 1_u32..5_000,
            burst in 1_u32..10,
            steps in prop::collection::vec((0_i64..2_000, 0_u32..20), 1..80),
            takeovers in prop::collection::btree_set(0_usize..80, 0..6),
        ) {
            let rate = StartRate { limit, per_ms, burst };
            let mut bucket = Bucket::new(rate, Elapsed(0));
            let mut now = Elapsed(0);
            let mut starts: Vec<i64> = Vec::new();
            for (at, (pause, wanted)) in steps.into_iter().enumerate() {
                now = Elapsed(now.0 + pause);
                if takeovers.contains(&at) {
                    bucket = Bucket::new(rate, now);
                }
                for _ in 0..wanted {
                    if bucket.starts(now) == 0 {
                        let next = bucket.next_start(now).expect("a time");
                        prop_assert!(next > now);
                        prop_assert!(bucket.starts(next) > 0, "it is allowed by then");
                        break;
                    }
                    bucket.take(now);
                    starts.push(now.0);
                }
            }
            for (first, from) in starts.iter().enumerate() {
                for (last, to) in starts.iter().enumerate().skip(first) {
                    let length = u64::try_from(to - from).expect("in order");
                    let most = u64::from(burst) + u64::from(limit) * length / u64::from(per_ms);
                    let made = (last - first + 1) as u64;
                    prop_assert!(made <= most, "{} starts in {} ms, of {}", made, length, most);
                }
            }
        }
    }
}
