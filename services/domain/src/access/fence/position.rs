//! How far a gateway has read FENCE and applied what its marks require.

use std::collections::VecDeque;

use crate::seq::StreamSeq;

/// Limit of marks that are tracked one by one while CONTROL is not applied far enough; further ones
/// are merged into the last.
const MAX_UNMET: usize = 1_000;

/// Records of FENCE were deleted before they were read, so what they required is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FENCE has deleted the records between {after} and {before}")]
pub struct Gap {
    /// Sequence of the last record that was read.
    pub after: StreamSeq,
    /// Sequence of the record that arrived instead of its successor.
    pub before: StreamSeq,
}

/// How far a gateway has read and applied FENCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    read: StreamSeq,
    control: StreamSeq,
    /// Records that were read but whose required position in CONTROL is not applied yet, as pairs
    /// of sequence and requirement. Both ascend.
    unmet: VecDeque<(StreamSeq, StreamSeq)>,
    /// Set while an event that will cap requirements is on its way to CONTROL.
    capping: Option<Capping>,
}

/// What is read while an event that will cap requirements is on its way to CONTROL. It may be
/// stored before the records that arrive meanwhile, so theirs are not capped by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Capping {
    /// The last record that was read before the event was sent.
    place: StreamSeq,
    /// The highest requirement of the records after it.
    demanded_since: StreamSeq,
}

impl Position {
    /// The position before the first record of FENCE that will be read.
    #[must_use]
    pub fn before(first: StreamSeq) -> Self {
        Self {
            read: StreamSeq(first.0.saturating_sub(1)),
            control: StreamSeq(0),
            unmet: VecDeque::new(),
            capping: None,
        }
    }

    /// Applies a record of FENCE that requires CONTROL up to `demands`.
    ///
    /// # Errors
    /// When the record is not the successor of the last one. It counts as read all the same.
    pub fn read(&mut self, seq: StreamSeq, demands: StreamSeq) -> Result<(), Gap> {
        if seq <= self.read {
            return Ok(());
        }
        let gap = (seq != self.read.next()).then_some(Gap {
            after: self.read,
            before: seq,
        });
        self.read = seq;
        if let Some(capping) = &mut self.capping {
            capping.demanded_since = capping.demanded_since.max(demands);
        }
        // A record that requires no more than an earlier unmet one is met together with it.
        if demands > self.demanded() {
            let is_full = self.unmet.len() >= MAX_UNMET;
            match self.unmet.back_mut().filter(|_| is_full) {
                Some((_, control)) => *control = demands,
                None => self.unmet.push_back((seq, demands)),
            }
        }
        gap.map_or(Ok(()), Err)
    }

    /// Records that CONTROL is applied up to `control`, and that every decision from now on uses
    /// it.
    pub fn applied_control(&mut self, control: StreamSeq) {
        self.control = self.control.max(control);
        while self
            .unmet
            .front()
            .is_some_and(|(_, demanded)| *demanded <= self.control)
        {
            self.unmet.pop_front();
        }
    }

    /// How far CONTROL must be applied for everything that was read to be applied.
    #[must_use]
    pub fn demanded(&self) -> StreamSeq {
        self.unmet
            .back()
            .map_or(self.control, |(_, control)| *control)
    }

    /// Call this before an event is sent to CONTROL, and [`cap`](Self::cap) with the place that
    /// this returns once it is stored. A call replaces the one before.
    pub fn before_append(&mut self) -> StreamSeq {
        self.capping = Some(Capping {
            place: self.read,
            demanded_since: StreamSeq(0),
        });
        self.read
    }

    /// Lowers what the records up to `place` require to `most`, the position of the event that
    /// was sent to CONTROL after they were read. An honest record is written by a process that has
    /// applied what it requires, so that lies before every event that is stored after the record.
    /// One that requires more belongs to a history of CONTROL that was lost. Returns whether there
    /// was one.
    pub fn cap(&mut self, place: StreamSeq, most: StreamSeq) -> bool {
        let Some(capping) = self.capping.filter(|capping| capping.place == place) else {
            return false;
        };
        self.capping = None;
        let is_refused =
            |(seq, demanded): &(StreamSeq, StreamSeq)| *seq <= place && *demanded > most;
        let Some(first) = self.unmet.iter().position(is_refused) else {
            return false;
        };
        // Whatever follows either required too much as well, or was read after `place`. Of the
        // latter, some were dropped since they required less than a record that is capped now, or
        // merged into it: the next record takes over the highest requirement of them all.
        self.unmet.truncate(first + 1);
        if let Some((_, demanded)) = self.unmet.back_mut() {
            *demanded = most;
        }
        if capping.demanded_since > most {
            self.unmet.push_back((place.next(), capping.demanded_since));
        }
        // The first of them may require no more now than CONTROL is applied, or than the one
        // before it.
        self.applied_control(self.control);
        true
    }

    /// The sequence up to which all records are read and their requirements applied. It never
    /// decreases.
    #[must_use]
    pub fn applied(&self) -> StreamSeq {
        match self.unmet.front() {
            Some((seq, _)) => StreamSeq(seq.0.saturating_sub(1)),
            None => self.read,
        }
    }

    /// Sequence of the last record that was read.
    #[must_use]
    pub fn last_read(&self) -> StreamSeq {
        self.read
    }

    /// How far CONTROL is applied.
    #[must_use]
    pub fn control(&self) -> StreamSeq {
        self.control
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(position: &mut Position, seq: u64, demands: u64) -> Result<(), Gap> {
        position.read(StreamSeq(seq), StreamSeq(demands))
    }

    #[test]
    fn a_mark_holds_everything_behind_it_until_its_demand_is_met() {
        let mut position = Position::before(StreamSeq(1));
        for (seq, demands) in [(1, 0), (2, 10), (3, 5), (4, 12), (5, 0)] {
            assert_eq!(read(&mut position, seq, demands), Ok(()));
        }
        assert_eq!(position.applied(), StreamSeq(1));
        position.applied_control(StreamSeq(9));
        assert_eq!(position.applied(), StreamSeq(1));
        position.applied_control(StreamSeq(10));
        assert_eq!(position.applied(), StreamSeq(3));
        position.applied_control(StreamSeq(12));
        assert_eq!(position.applied(), StreamSeq(5));
        assert_eq!(read(&mut position, 6, 12), Ok(()));
        assert_eq!(position.applied(), StreamSeq(6));
    }

    #[test]
    fn what_was_missed_is_told() {
        let mut position = Position::before(StreamSeq(7));
        assert_eq!(read(&mut position, 7, 0), Ok(()));
        assert_eq!(read(&mut position, 7, 0), Ok(()));
        let gap = Gap {
            after: StreamSeq(7),
            before: StreamSeq(9),
        };
        assert_eq!(read(&mut position, 9, 0), Err(gap));
        assert_eq!(position.last_read(), StreamSeq(9));
    }

    /// A position that has read a record of a lost history at 2, and an honest one at 1 that asks
    /// for 10. CONTROL is applied up to 9 and ends at 10.
    fn a_position_asked_for_too_much() -> Position {
        let mut position = Position::before(StreamSeq(1));
        position.applied_control(StreamSeq(9));
        for (seq, demands) in [(1, 10), (2, 1_000), (3, 1_000)] {
            assert_eq!(read(&mut position, seq, demands), Ok(()));
        }
        assert_eq!(position.demanded(), StreamSeq(1_000));
        position
    }

    #[test]
    fn a_demand_beyond_the_end_of_control_is_capped_and_the_others_are_kept() {
        let mut position = a_position_asked_for_too_much();
        let place = position.before_append();
        assert!(position.cap(place, StreamSeq(11)));
        assert_eq!(position.applied(), StreamSeq(0));
        assert_eq!(position.demanded(), StreamSeq(11));
        position.applied_control(StreamSeq(10));
        assert_eq!(position.applied(), StreamSeq(1));
        position.applied_control(StreamSeq(11));
        assert_eq!(position.applied(), StreamSeq(3));
    }

    #[test]
    fn what_is_read_after_the_event_was_sent_is_not_capped_by_it() {
        let mut position = a_position_asked_for_too_much();
        let place = position.before_append();
        // The event is stored at 11, and this revocation behind it. What is known of it must not be
        // lost although it asks for less than the record before.
        assert_eq!(read(&mut position, 4, 12), Ok(()));
        assert!(position.cap(place, StreamSeq(11)));
        position.applied_control(StreamSeq(11));
        assert_eq!(position.applied(), StreamSeq(3));
        position.applied_control(StreamSeq(12));
        assert_eq!(position.applied(), StreamSeq(4));
    }

    #[test]
    fn an_event_caps_only_what_was_read_when_it_was_sent() {
        let mut position = a_position_asked_for_too_much();
        let early = position.before_append();
        assert_eq!(read(&mut position, 4, 12), Ok(()));
        let late = position.before_append();
        assert!(!position.cap(early, StreamSeq(11)), "it was replaced");
        assert_eq!(position.demanded(), StreamSeq(1_000));
        assert!(position.cap(late, StreamSeq(13)));
        assert_eq!(position.demanded(), StreamSeq(13));
    }

    #[test]
    fn an_event_behind_all_demands_caps_nothing() {
        let mut position = Position::before(StreamSeq(1));
        assert_eq!(read(&mut position, 1, 10), Ok(()));
        let before = position.clone();
        let place = position.before_append();
        assert!(!position.cap(place, StreamSeq(11)));
        assert_eq!(position, before);
    }

    #[test]
    fn a_demand_that_was_merged_into_a_capped_one_is_kept() {
        let mut position = Position::before(StreamSeq(1));
        let full = MAX_UNMET as u64;
        for seq in 1..full {
            assert_eq!(read(&mut position, seq, seq), Ok(()));
        }
        assert_eq!(read(&mut position, full, 1_000_000), Ok(()));
        let place = position.before_append();
        assert_eq!(read(&mut position, full + 1, 2_000_000), Ok(()));
        assert!(position.unmet.len() <= MAX_UNMET);
        assert!(position.cap(place, StreamSeq(full)));
        position.applied_control(StreamSeq(full));
        assert_eq!(position.applied(), StreamSeq(full));
        assert_eq!(position.demanded(), StreamSeq(2_000_000));
    }

    #[test]
    fn unmet_marks_take_bounded_memory_and_lose_no_demand() {
        let mut position = Position::before(StreamSeq(1));
        let many = 3 * MAX_UNMET as u64;
        for seq in 1..=many {
            assert_eq!(read(&mut position, seq, seq), Ok(()));
        }
        assert!(position.unmet.len() <= MAX_UNMET);
        position.applied_control(StreamSeq(many - 1));
        assert!(position.applied() < StreamSeq(many));
        position.applied_control(StreamSeq(many));
        assert_eq!(position.applied(), StreamSeq(many));
    }
}
