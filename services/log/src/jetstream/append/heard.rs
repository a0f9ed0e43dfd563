//! Distinguishes a server that is slow from one that has lost a request.

use std::time::{Duration, Instant};

/// After this long a missing answer may count as lost: a cluster drops requests when its leader
/// changes.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1_500);
/// On a replicated stream: a request that was sent this long before another one that is stored now,
/// and is not answered, is lost. Appends are stored in the order in which the leader receives them,
/// and only refusals can overtake them.
const OVERTAKEN_AFTER: Duration = Duration::from_millis(100);
/// On a replicated stream: after this long without any answer, one append is repeated to find out
/// whether there is a new leader.
const SILENCE: Duration = Duration::from_millis(250);

/// When the server has answered what. It answers in the order in which it receives requests, so a
/// slow server can be distinguished from one that has lost a request. Repeating requests to a slow
/// server would only make it slower.
pub(super) struct Heard {
    is_replicated: bool,
    /// Time of the last answer.
    last: Instant,
    /// Latest sending time among the requests that are answered.
    newest: Instant,
    /// Latest sending time among the requests that are stored.
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

    /// Notes that a request sent at that time was stored, and not by an earlier attempt.
    pub(super) fn stored(&mut self, sent: Instant) {
        self.newest_stored = self.newest_stored.max(sent);
    }

    /// Whether the answer to a request that was sent at that time counts as lost.
    pub(super) fn is_overdue(&self, sent: Instant, now: Instant) -> bool {
        let long_ago = |then| now.saturating_duration_since(then) >= ANSWER_TIMEOUT;
        let is_overtaken = self.newest > sent;
        let is_lost = self.is_replicated
            && self.newest_stored.saturating_duration_since(sent) >= OVERTAKEN_AFTER;
        is_lost || (long_ago(sent) && (is_overtaken || long_ago(self.last)))
    }

    /// Whether a replicated stream has answered nothing for a while, although requests are in
    /// flight, the latest of which was sent at `latest`.
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
        // It was sent after everything that is answered, and other answers still arrive.
        assert!(!heard.is_overdue(at(20), at(3_000)));
        // Silence.
        assert!(heard.is_overdue(at(20), at(4_500)));
        assert!(!heard.is_overdue(at(4_400), at(4_500)));
        // A later request has been answered.
        heard.answer_to(at(30), at(4_500));
        assert!(heard.is_overdue(at(20), at(4_600)));
        assert!(!heard.is_overdue(at(40), at(4_600)));
    }

    #[test]
    fn with_copies_what_a_new_leader_never_heard_of_is_sent_again_at_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut heard = Heard::new(true);
        // A refusal overtakes requests that wait for replication, so it proves nothing.
        heard.answer_to(at(300), at(310));
        assert!(!heard.is_overdue(at(100), at(400)));
        // A later request is stored.
        heard.stored(at(300));
        assert!(heard.is_overdue(at(100), at(400)));
        assert!(!heard.is_overdue(at(250), at(400)));
        // On a single server the same means only that it is slow.
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
