//! Says seldom what happens often: while NATS is away, each renewal and each mark fails, several
//! times a second.

use std::time::Duration;

use waybill_domain::access::fence::Uptime;

/// Minimum interval between two warnings of one kind.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Warnings of one kind.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Option<Uptime>,
    unsaid: u32,
}

impl Seldom {
    /// Counts one more. Returns how many there were since the last warning, this one included, if it
    /// is time for another.
    pub(crate) fn another(&mut self, now: Uptime) -> Option<u32> {
        self.unsaid += 1;
        if self.said.is_some_and(|said| now.since(said) < SAY_EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_stands_for_all_since_the_last() {
        let mut seldom = Seldom::default();
        let at = |millis| Uptime(Duration::from_millis(millis));
        assert_eq!(seldom.another(at(10_000)), Some(1));
        for millis in 10_001..10_030 {
            assert_eq!(seldom.another(at(millis)), None);
        }
        assert_eq!(seldom.another(at(12_000)), Some(30));
        assert_eq!(seldom.another(at(20_000)), Some(1));
    }
}
