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

    /// Uses up to `wanted` starts, also those that will be allowed within `ahead`. Returns how many.
    pub(super) fn take_ahead(&mut self, wanted: u64, ahead: Duration, now: Elapsed) -> u64 {
        let taken = self.ahead(ahead, now).min(wanted);
        let from = self.at.max(now);
        let (level, price) = (self.level_at(from), taken.saturating_mul(self.cost()));
        (self.level, self.at) = match price.checked_sub(level) {
            None | Some(0) => (level - price, from),
            Some(missing) => {
                let later = missing.div_ceil(self.inflow());
                let rest = later * self.inflow() - missing;
                (rest, from.plus(Duration::from_millis(later)))
            }
        };
        taken
    }

    /// How many starts are allowed within `ahead`.
    pub(super) fn ahead(self, ahead: Duration, now: Elapsed) -> u64 {
        let from = self.at.max(now);
        let left = ahead.saturating_sub(from.since(now));
        let more = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let more = more.saturating_mul(self.inflow());
        self.level_at(from).saturating_add(more) / self.cost()
    }

    /// How long it takes until a start is allowed within `ahead`.
    pub(super) fn until_ahead(self, ahead: Duration, now: Elapsed) -> Duration {
        let from = self.at.max(now);
        let missing = self.cost().saturating_sub(self.level_at(from));
        let needed = Duration::from_millis(missing.div_ceil(self.inflow()));
        (from.since(now) + needed).saturating_sub(ahead)
    }

    /// Whether all unused starts are there that may be made up for.
    pub(super) fn is_full(self, now: Elapsed) -> bool {
        let most = self.cost().saturating_mul(self.rate.burst.max(1).into());
        self.at <= now && self.level_at(now) >= most
    }

    /// The same bucket with another rate. It keeps what it has in starts, and fractions of one.
    pub(super) fn with_rate(self, rate: StartRate, now: Elapsed) -> Self {
        let from = self.at.max(now);
        let (was, is) = (u128::from(self.cost()), Self::new(rate, from));
        let level = u128::from(self.level_at(from)) * u128::from(is.cost()) / was;
        let level = u64::try_from(level).unwrap_or(u64::MAX);
        Self {
            level: level.min(is.cost().saturating_mul(rate.burst.max(1).into())),
            ..is
        }
    }

    pub(super) fn rate(self) -> StartRate {
        self.rate
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
