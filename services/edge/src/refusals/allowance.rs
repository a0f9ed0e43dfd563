//! How many events may be written: a fixed number in any minute, whatever happens.

use tokio::time::Instant;

/// Thousandths of an event, so that nothing is lost between two short pauses.
const WHOLE: u64 = 1_000;
const MS_PER_MINUTE: u64 = 60_000;

/// A bucket that holds half of what a minute allows and fills with the other half in a minute: together no more than that in any minute.
#[derive(Debug)]
pub(super) struct Allowance {
    half: u64,
    left: u64,
    filled_at: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(per_minute: u32) -> Self {
        let half = u64::from(per_minute / 2).max(1) * WHOLE;
        Self {
            half,
            left: half,
            filled_at: None,
        }
    }

    pub(super) fn refill(&mut self, now: Instant) {
        let since = self.filled_at.replace(now).map(|at| now - at);
        let ms = since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        let gained = self.half.saturating_mul(ms) / MS_PER_MINUTE;
        self.left = self.left.saturating_add(gained).min(self.half);
    }

    /// Events that may be written now.
    pub(super) fn left(&self) -> usize {
        usize::try_from(self.left / WHOLE).unwrap_or(usize::MAX)
    }

    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_minute_has_more_than_its_number() {
        let start = Instant::now();
        let mut allowance = Allowance::new(60);
        let mut told_at = Vec::new();
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            allowance.refill(now);
            while allowance.left() > 0 {
                allowance.spend();
                told_at.push(second);
            }
        }
        for from in 0..540 {
            let in_minute = told_at.iter().filter(|at| (from..from + 60).contains(*at));
            assert!(in_minute.count() <= 60, "the minute from {from}");
        }
        // And it goes on: half of it in every minute but the first.
        assert!(told_at.len() >= 30 + 9 * 30, "{}", told_at.len());
    }
}
