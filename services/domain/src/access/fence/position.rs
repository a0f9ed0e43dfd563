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
}

impl Position {
    /// The position before the first record of FENCE that will be read.
    #[must_use]
    pub fn before(first: StreamSeq) -> Self {
        Self {
            read: StreamSeq(first.0.saturating_sub(1)),
            control: StreamSeq(0),
            unmet: VecDeque::new(),
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
        // A record that requires no more than an earlier unmet one is met together with it.
        let highest = self
            .unmet
            .back()
            .map_or(self.control, |(_, control)| *control);
        if demands > highest {
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
