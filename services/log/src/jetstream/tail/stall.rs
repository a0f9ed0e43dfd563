//! Whether a tail that hears nothing but heartbeats has fallen behind.
//!
//! A consumer of one copy lives on one server. When that server is cut off from the leader of the stream, or its copy lags, it goes on to
//! send heartbeats, delivers nothing, and does not know that there is more. So on a replicated stream a tail that has heard of nothing new
//! asks the leader now and then; when the leader has had more for two looks in a row, the consumer is made anew, on a server that knows.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// One look may fall between a message and its delivery; two cannot.
const LOOKS: u32 = 2;

/// Of one consumer.
#[derive(Debug)]
pub(super) struct Stall {
    looked: Instant,
    behind: u32,
}

impl Stall {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            behind: 0,
        }
    }

    /// Something new was delivered.
    pub(super) fn delivered(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// Is the leader to be asked?
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.duration_since(self.looked) >= LOOK_EVERY
    }

    /// The leader was asked. `true`: the consumer has stalled.
    pub(super) fn leader_has_more(&mut self, now: Instant, more: bool) -> bool {
        self.looked = now;
        self.behind = if more { self.behind + 1 } else { 0 };
        self.behind >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_in_a_row_without_what_the_leader_has_are_a_stall() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        assert!(!stall.is_due(start + LOOK_EVERY / 2));
        let first = start + LOOK_EVERY;
        assert!(stall.is_due(first));
        assert!(!stall.leader_has_more(first, true));
        assert!(!stall.is_due(first + LOOK_EVERY / 2));
        assert!(stall.leader_has_more(first + LOOK_EVERY, true));
    }

    #[test]
    fn a_look_that_finds_nothing_and_a_delivery_begin_the_count_anew() {
        let now = Instant::now();
        let mut stall = Stall::new(now);
        assert!(!stall.leader_has_more(now, true));
        assert!(!stall.leader_has_more(now, false));
        assert!(!stall.leader_has_more(now, true));
        stall.delivered(now);
        assert!(!stall.leader_has_more(now, true));
    }
}
