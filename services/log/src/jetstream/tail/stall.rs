//! Detects a tail that has fallen behind although it receives heartbeats.
//!
//! A consumer with one replica runs on one server. If that server is cut off from the stream's
//! leader, or its replica lags, it keeps sending heartbeats but delivers nothing, and does not know
//! that there is more. If the server is restarted, the consumer is gone, and nothing says so. So on
//! a replicated stream, a tail without new messages asks the leader: soon after the last message,
//! and periodically from then on. If the leader has more messages at two checks in a row, the tail
//! creates a new consumer.

use std::time::{Duration, Instant};

/// Interval of the checks.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// The same for the first ones after a message. Where messages are frequent, two missing ones are
/// noticed in half a second; where they are rare, each costs that many more checks.
const SOON: Duration = Duration::from_millis(250);
const LOOKS_SOON: u32 = LOOKS;
/// Checks that must find more in a row. One may fall between the storing of a message and its
/// delivery; two cannot.
const LOOKS: u32 = 2;

/// The state of one consumer.
#[derive(Debug)]
pub(super) struct Stall {
    looked: Instant,
    /// Checks since the last message.
    looks: u32,
    behind: u32,
}

impl Stall {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            looked: now,
            // A slow server may take longer for the first message of a consumer.
            looks: LOOKS_SOON,
            behind: 0,
        }
    }

    /// Notes that a message was delivered.
    pub(super) fn delivered(&mut self, now: Instant) {
        *self = Self {
            looks: 0,
            ..Self::new(now)
        };
    }

    /// When to ask the leader.
    pub(super) fn due(&self) -> Instant {
        let pause = if self.looks < LOOKS_SOON {
            SOON
        } else {
            LOOK_EVERY
        };
        self.looked + pause
    }

    /// Whether it is time to ask the leader.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due()
    }

    /// Notes the answer of the leader. Returns `true` if the consumer has stalled.
    pub(super) fn leader_has_more(&mut self, now: Instant, more: bool) -> bool {
        self.looked = now;
        self.looks = self.looks.saturating_add(1);
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
    #[test]
    fn the_leader_is_asked_twice_soon_after_a_message_and_seldom_from_then_on() {
        let start = Instant::now();
        let mut stall = Stall::new(start);
        assert_eq!(stall.due(), start + LOOK_EVERY, "a new consumer has time");
        stall.delivered(start);
        assert_eq!(stall.due(), start + SOON);
        assert!(!stall.leader_has_more(start + SOON, true));
        assert_eq!(stall.due(), start + 2 * SOON);
        assert!(stall.leader_has_more(start + 2 * SOON, true));
        stall.delivered(start);
        for look in 1..=LOOKS_SOON {
            assert!(!stall.leader_has_more(start + look * SOON, false));
        }
        let last = start + LOOKS_SOON * SOON;
        assert_eq!(stall.due(), last + LOOK_EVERY, "nothing comes");
    }
}
