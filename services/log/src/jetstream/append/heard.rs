//! Tells a server that is slow from one that has forgotten what it was asked.

use std::time::{Duration, Instant};

/// An answer that is not there after this long may be asked for again: a cluster that changes its leader forgets.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// On a replicated stream: what was sent so long before something that is stored now is lost, if it is not answered. Appends are
/// stored in the order in which the leader got them, and only a refusal overtakes them.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(100);
/// On a replicated stream: after so long without any answer one append is sent again, to hear whether there is a new leader.
const SILENCE: Duration = Duration::from_millis(250);

/// What the server has answered lately. It answers in the order in which it was asked, so one that is slow is told from one
/// that has forgotten: to send again to a slow one would only make it slower.
pub(super) struct Heard {
    is_replicated: bool,
    /// When it last answered anything.
    last: Instant,
    /// When that was sent which was sent last of all that is answered.
    newest: Instant,
    /// The same of all that is stored.
    newest_stored: Instant,
}

impl Heard {
    pub(super) fn new(is_replicated: bool) -> Self {
        let now = Instant::now();
        Self {
            is_replicated,
            last: now,
            newest: now,
            newest_stored: now,
        }
    }

    pub(super) fn answer_to(&mut self, sent: Instant, now: Instant) {
        self.last = now;
        self.newest = self.newest.max(sent);
    }

    /// What was sent then was stored, and not by an earlier try.
    pub(super) fn stored(&mut self, sent: Instant) {
        self.newest_stored = self.newest_stored.max(sent);
    }

    /// Is the answer to what was sent then lost?
    pub(super) fn is_overdue(&self, sent: Instant, now: Instant) -> bool {
        let long_ago = |then| now.saturating_duration_since(then) >= ANSWER_TIMEOUT;
        let is_overtaken = self.newest > sent;
        let is_lost = self.is_replicated
            && self.newest_stored.saturating_duration_since(sent) >= OVERTAKEN_AFTER;
        is_lost || (long_ago(sent) && (is_overtaken || long_ago(self.last)))
    }

    /// Has a replicated stream said nothing for a while, although something was sent, the last of it then?
    pub(super) fn is_silent(&self, latest: Instant, now: Instant) -> bool {
        let since = latest.max(self.last);
        self.is_replicated && now.saturating_duration_since(since) >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_server_is_not_asked_again_but_a_forgetful_one_is() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heard = Heard::new(false);
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

    #[test]
    fn with_copies_what_a_new_leader_never_heard_of_is_sent_again_at_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heard = Heard::new(true);
        // A refusal overtakes what waits for its copies, and proves nothing.
        heard.answer_to(at(300), at(310));
        assert!(!heard.is_overdue(at(100), at(400)));
        // Something younger is stored.
        heard.stored(at(300));
        assert!(heard.is_overdue(at(100), at(400)));
        assert!(!heard.is_overdue(at(250), at(400)));
        // On a single server the same is only slow.
        let mut single = Heard::new(false);
        single.answer_to(at(300), at(310));
        single.stored(at(300));
        assert!(!single.is_overdue(at(100), at(400)));
    }

    #[test]
    fn with_copies_silence_is_soon_put_to_the_test() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heard = Heard::new(true);
        heard.answer_to(at(10), at(100));
        assert!(!heard.is_silent(at(50), at(300)));
        assert!(heard.is_silent(at(50), at(350)));
        assert!(!heard.is_silent(at(200), at(350)));
        assert!(!Heard::new(false).is_silent(at(50), at(5_000)));
    }
}
