//! How often, and for how long, a letter is attempted.

use std::time::Duration;

/// How often, and for how long, storing and sending is attempted. It ends with the letter's own time (`Letter::until`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboxTimes {
    /// Pause after the first attempt; each further one is twice as long.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// How long letters that are being sent, and notices that are not stored yet, are attended to after a stop was requested.
    pub drain: Duration,
}

impl Default for OutboxTimes {
    fn default() -> Self {
        // 2 s, 4 s ... 5 min, as long as the letter is worth it: longer than any greylist.
        Self {
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(300),
            drain: Duration::from_secs(3),
        }
    }
}

impl OutboxTimes {
    /// The pause after an attempt, numbered from 1.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1)).min(1 << 16);
        (self.first_pause * doubled).min(self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let times = OutboxTimes::default();
        let seconds = |attempt| times.pause(attempt).as_secs();
        assert_eq!([1, 2, 3, 8].map(seconds), [2, 4, 8, 256]);
        assert_eq!([9, 17, 400, u32::MAX].map(seconds), [300; 4]);
        assert_eq!(seconds(0), 2);
    }
}
