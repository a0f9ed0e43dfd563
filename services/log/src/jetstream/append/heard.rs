//! Tells a server that is slow from one that has forgotten what it was asked.

use std::time::{Duration, Instant};

/// An answer that is not there after this long may be asked for again: a cluster that changes its leader forgets.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);

/// What the server has answered lately. It answers in the order in which it was asked, so one that is slow is told from one
/// that has forgotten: to send again to a slow one would only make it slower.
pub(super) struct Heard {
    /// When it last answered anything.
    last: Instant,
    /// When that was sent which was sent last of all that is answered.
    newest: Instant,
}

impl Heard {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            last: now,
            newest: now,
        }
    }

    pub(super) fn answer_to(&mut self, sent: Instant, now: Instant) {
        self.last = now;
        self.newest = self.newest.max(sent);
    }

    /// Is the answer to what was sent then lost?
    pub(super) fn is_overdue(&self, sent: Instant, now: Instant) -> bool {
        let long_ago = |then| now.saturating_duration_since(then) >= ANSWER_TIMEOUT;
        let is_overtaken = self.newest > sent;
        long_ago(sent) && (is_overtaken || long_ago(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_server_is_not_asked_again_but_a_forgetful_one_is() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heard = Heard::new();
        heard.answer_to(at(10), at(2_900));
        // Sent after everything that is answered, and others are still being answered.
        assert!(!heard.is_overdue(at(20), at(3_000)));
        // Silence.
        assert!(heard.is_overdue(at(20), at(4_500)));
        assert!(!heard.is_overdue(at(4_400), at(4_500)));
        // What was sent later is answered already.
        heard.answer_to(at(30), at(4_500));
        assert!(heard.is_overdue(at(20), at(4_600)));
        assert!(!heard.is_overdue(at(40), at(4_600)));
    }
}
