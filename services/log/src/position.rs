//! Positions: which message of TASKS holds an event, and which of its events that is.
//!
//! Before the switch to frames (`frame.rs`), each message of TASKS is one event, and the position
//! of the event is the sequence of the message. From the sequence of the first frame on, which the
//! metadata of the stream names, a position is `sequence << 10 | place`. The places are counted
//! from the end: the last event of every message has place 1023, the one before it 1022. So the
//! position of the end of a stream is known without reading its last message, and the position
//! after a whole frame leads to the start of the next one. Positions grow across the switch,
//! earlier ones keep their meaning, and no position has two meanings.

use waybill_domain::seq::StreamSeq;

/// Bits of a position that hold the place of an event in its message.
pub const PLACE_BITS: u32 = 10;
/// Events that one message can hold.
pub const MAX_EVENTS: usize = 1 << PLACE_BITS;
/// Place of the last event of a message.
const LAST_PLACE: u64 = (1 << PLACE_BITS) - 1;

/// How the positions of a stream are counted. Fixed for as long as a process is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Positions {
    /// Sequence of the first message that may be a frame; `None`: there are no frames.
    first_frame: Option<u64>,
}

impl Positions {
    /// Each position is the sequence of a message. So it is in every stream but TASKS, and in TASKS
    /// before the switch.
    pub const OF_MESSAGES: Self = Self { first_frame: None };

    /// Positions of a stream whose messages may be frames from that sequence on.
    #[must_use]
    pub fn with_frames_from(first_frame: u64) -> Self {
        Self {
            first_frame: Some(first_frame),
        }
    }

    /// Sequence of the first message that may be a frame; `None`: there are no frames.
    #[must_use]
    pub fn first_frame(self) -> Option<u64> {
        self.first_frame
    }

    /// Whether any message may be a frame.
    #[must_use]
    pub fn has_frames(self) -> bool {
        self.first_frame.is_some()
    }

    /// Whether the message with that sequence may be a frame.
    #[must_use]
    pub fn may_be_frame(self, message: u64) -> bool {
        self.first_frame.is_some_and(|first| message >= first)
    }

    /// Sequence of the message that holds a position. For a position without an event, it is the
    /// next message that could have one.
    #[must_use]
    pub fn message(self, position: StreamSeq) -> u64 {
        match self.first_frame {
            Some(first) if position.0 >= first => (position.0 >> PLACE_BITS).max(first),
            Some(_) | None => position.0,
        }
    }

    /// The lowest position of a message: right after the last one of the message before it. No
    /// event of the message has a lower position.
    #[must_use]
    pub fn first_in(self, message: u64) -> StreamSeq {
        match message.checked_sub(1) {
            Some(before) => self.last_in(before).next(),
            None => StreamSeq(0),
        }
    }

    /// The position of the last event of a message.
    #[must_use]
    pub fn last_in(self, message: u64) -> StreamSeq {
        if self.may_be_frame(message) {
            StreamSeq((message << PLACE_BITS) | LAST_PLACE)
        } else {
            StreamSeq(message)
        }
    }

    /// The position of an event in a message with `count` events, where the first event is 0.
    #[must_use]
    pub fn of(self, message: u64, event: usize, count: usize) -> StreamSeq {
        debug_assert!(event < count && count <= MAX_EVENTS, "{event} of {count}");
        let behind = count.saturating_sub(event + 1) as u64;
        StreamSeq(self.last_in(message).0 - behind)
    }

    /// Number of messages after the one that holds `from`, up to and including the one that holds
    /// `to`.
    #[must_use]
    pub fn messages_between(self, from: StreamSeq, to: StreamSeq) -> u64 {
        self.message(to).saturating_sub(self.message(from))
    }

    /// The first position of the message that comes `messages` after the one that holds `position`.
    #[must_use]
    pub fn messages_on(self, position: StreamSeq, messages: u64) -> StreamSeq {
        self.first_in(self.message(position).saturating_add(messages))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ways() -> impl Strategy<Value = Positions> {
        prop_oneof![
            Just(Positions::OF_MESSAGES),
            (1_u64..1 << 40).prop_map(Positions::with_frames_from),
            (1_u64..100).prop_map(Positions::with_frames_from),
        ]
    }

    /// A message near the switch, where the two ways of counting meet, or anywhere.
    fn messages(positions: Positions) -> impl Strategy<Value = u64> {
        let switch = positions.first_frame().unwrap_or(50);
        prop_oneof![
            switch.saturating_sub(3).max(1)..switch + 3,
            1_u64..1 << 42,
            1_u64..200_000
        ]
    }

    fn places() -> impl Strategy<Value = (Positions, u64, u64, usize)> {
        ways()
            .prop_flat_map(|ways| {
                (
                    Just(ways),
                    messages(ways),
                    messages(ways),
                    1_usize..=MAX_EVENTS,
                )
            })
            .prop_map(|(ways, a, b, count)| {
                let framed = ways.may_be_frame(a);
                (ways, a, b, if framed { count } else { 1 })
            })
    }

    proptest! {
        #[test]
        fn each_event_has_a_position_of_its_own_that_leads_back_to_its_message(
            (ways, message, other, count) in places()
        ) {
            let all: Vec<StreamSeq> = (0..count).map(|event| ways.of(message, event, count)).collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].next() == pair[1]));
            prop_assert!(all.iter().all(|position| ways.message(*position) == message));
            prop_assert!(ways.first_in(message) <= all[0]);
            prop_assert_eq!(all.last().copied(), Some(ways.last_in(message)));
            prop_assert!(all.iter().all(|position| position.0 < 1 << 53), "exact in JSON");
            // The order of positions is the order of messages, on both sides of the switch and across it.
            prop_assert_eq!(ways.last_in(message) < ways.first_in(other), message < other);
        }

        #[test]
        fn what_follows_the_last_event_of_a_message_leads_to_the_next_message(
            (ways, message, _, _) in places()
        ) {
            let behind = ways.last_in(message).next();
            prop_assert_eq!(ways.message(behind), message + 1);
            prop_assert_eq!(behind, ways.first_in(message + 1));
        }

        #[test]
        fn a_position_from_before_the_switch_stays_what_it_was(first in 1_u64..1 << 40, message in 1_u64..1 << 40) {
            let ways = Positions::with_frames_from(first);
            prop_assume!(message < first);
            prop_assert_eq!(ways.message(StreamSeq(message)), message);
            prop_assert_eq!(ways.of(message, 0, 1), StreamSeq(message));
            // Negative control: the same message, counted in the other way, is a different
            // position.
            prop_assert_ne!(ways.message(StreamSeq((message << PLACE_BITS) | LAST_PLACE)), message);
        }

        #[test]
        fn steps_in_messages_are_undone_by_counting_them(
            (ways, message, _, count) in places(), on in 0_u64..1_000_000
        ) {
            let from = ways.of(message, 0, count);
            let to = ways.messages_on(from, on);
            prop_assert_eq!(ways.message(to), message + on);
            prop_assert_eq!(ways.messages_between(from, to), on);
        }
    }

    #[test]
    fn the_ends_of_all_positions_are_the_ends_of_all_messages() {
        for ways in [Positions::OF_MESSAGES, Positions::with_frames_from(7)] {
            assert_eq!(ways.message(StreamSeq(0)), 0);
            assert_eq!(ways.last_in(0), StreamSeq(0));
            assert!(ways.message(StreamSeq(u64::MAX)) > 1 << 50);
        }
    }
}
