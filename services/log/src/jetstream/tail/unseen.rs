//! Notices that a purge may have taken messages which a tail with filters had not read.
//!
//! To such a tail the server skips purged messages like those that match no filter. So each time
//! the tail passes sequences that it did not get, the stream's first sequence decides: if nothing
//! from there on is purged now, nothing was when it passed. Asking the leader before each of those
//! messages is handed on would delay most of them, so it is asked afterwards, at most once a second.
//! Once no more messages come, the leader is asked as well, since what a slow tail had not requested
//! yet may be gone without anything after it.

use std::time::{Duration, Instant};

use crate::StreamSeq;

/// Shortest interval between two questions to the leader.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The state of one tail.
#[derive(Debug)]
pub(super) struct Unseen {
    /// The first sequence that the tail has passed without getting its message since the leader was
    /// last asked.
    since: Option<StreamSeq>,
    /// Whether messages have come, or a consumer was created, since the server had nothing to
    /// deliver.
    is_active: bool,
    asked: Instant,
}

impl Unseen {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: None,
            is_active: true,
            asked: now,
        }
    }

    /// Notes that another consumer begins to deliver.
    pub(super) fn begins(&mut self) {
        self.is_active = true;
    }

    /// Notes that the tail, which waited for `next`, got `seq`.
    pub(super) fn got(&mut self, next: StreamSeq, seq: StreamSeq) {
        self.is_active = true;
        if seq > next {
            self.since.get_or_insert(next);
        }
    }

    /// Notes that the server has nothing to deliver, while the tail waits for `next`. What it had
    /// before the tail requested it may have been purged.
    pub(super) fn got_nothing(&mut self, next: StreamSeq) {
        if std::mem::take(&mut self.is_active) {
            self.since.get_or_insert(next);
        }
    }

    /// Whether it is time to ask the leader for the stream's first sequence. If so, the next time
    /// is counted from now.
    pub(super) fn asks(&mut self, now: Instant) -> bool {
        let is_due = self.since.is_some() && now.duration_since(self.asked) >= ASK_EVERY;
        if is_due {
            self.asked = now;
        }
        is_due
    }

    /// Settles everything that was passed so far by the stream's first sequence, which the leader
    /// gave after it. Returns the sequence from which on messages may have been purged unread.
    pub(super) fn settle(&mut self, first: StreamSeq) -> Option<StreamSeq> {
        self.since.take().filter(|since| *since < first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unseen() -> (Unseen, Instant) {
        let start = Instant::now();
        (Unseen::new(start), start + ASK_EVERY)
    }

    #[test]
    fn what_was_passed_is_a_gap_only_if_the_stream_begins_behind_it() {
        for (first, gap) in [(1, None), (4, None), (5, Some(StreamSeq(4)))] {
            let (mut unseen, due) = unseen();
            unseen.got(StreamSeq(2), StreamSeq(2));
            unseen.got(StreamSeq(3), StreamSeq(3));
            assert!(!unseen.asks(due), "nothing was passed");
            unseen.got(StreamSeq(4), StreamSeq(9));
            unseen.got(StreamSeq(10), StreamSeq(20));
            assert!(unseen.asks(due));
            assert_eq!(unseen.settle(StreamSeq(first)), gap);
            assert!(!unseen.asks(due + ASK_EVERY), "it is settled");
        }
    }

    #[test]
    fn the_leader_is_asked_once_when_nothing_comes_any_more() {
        let (mut unseen, due) = unseen();
        unseen.got_nothing(StreamSeq(7));
        assert!(unseen.asks(due), "its consumer is new");
        assert_eq!(unseen.settle(StreamSeq(7)), None);
        unseen.got_nothing(StreamSeq(7));
        assert!(!unseen.asks(due + ASK_EVERY), "nothing has come since");
        unseen.got(StreamSeq(7), StreamSeq(7));
        unseen.got_nothing(StreamSeq(8));
        assert!(unseen.asks(due + ASK_EVERY));
        assert_eq!(unseen.settle(StreamSeq(9)), Some(StreamSeq(8)));
        unseen.begins();
        unseen.got_nothing(StreamSeq(9));
        assert!(unseen.asks(due + ASK_EVERY * 2));
    }

    #[test]
    fn the_leader_is_asked_once_a_second_and_again_when_it_does_not_answer() {
        let (mut unseen, due) = unseen();
        unseen.got(StreamSeq(4), StreamSeq(9));
        assert!(!unseen.asks(due - ASK_EVERY / 2));
        assert!(unseen.asks(due));
        assert!(!unseen.asks(due + ASK_EVERY / 2));
        assert!(unseen.asks(due + ASK_EVERY));
    }
}
