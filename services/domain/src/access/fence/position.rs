//! How far a gateway has come: read in FENCE, and with what the marks there ask for.

use std::collections::VecDeque;

use crate::seq::StreamSeq;

/// Marks whose demand is not met yet and that are remembered one by one; further ones count as part of the last.
const MAX_UNMET: usize = 1_000;

/// Records of FENCE were missed: what they asked for cannot be known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("FENCE has forgotten what stood between {after} and {before}")]
pub struct Gap {
    /// The last record that was read.
    pub after: StreamSeq,
    /// The one that came instead of the next.
    pub before: StreamSeq,
}

/// How far a gateway has come in FENCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    read: StreamSeq,
    control: StreamSeq,
    /// Records read whose demand on CONTROL is not met: their place, and the demand. Both grow.
    unmet: VecDeque<(StreamSeq, StreamSeq)>,
}

impl Position {
    /// Before the first record of FENCE that is to be read.
    #[must_use]
    pub fn before(first: StreamSeq) -> Self {
        Self {
            read: StreamSeq(first.0.saturating_sub(1)),
            control: StreamSeq(0),
            unmet: VecDeque::new(),
        }
    }

    /// A record was read that demands so much of CONTROL.
    ///
    /// # Errors
    /// When it is not the one after the last. It counts as read all the same.
    pub fn read(&mut self, seq: StreamSeq, demands: StreamSeq) -> Result<(), Gap> {
        if seq <= self.read {
            return Ok(());
        }
        let gap = (seq != self.read.next()).then_some(Gap {
            after: self.read,
            before: seq,
        });
        self.read = seq;
        // What asks for no more than an unmet record before it is met together with that one.
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

    /// CONTROL is applied up to here, and every decision from now on knows it.
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

    /// How far all records are read and what they ask for is applied. It never goes back.
    #[must_use]
    pub fn applied(&self) -> StreamSeq {
        match self.unmet.front() {
            Some((seq, _)) => StreamSeq(seq.0.saturating_sub(1)),
            None => self.read,
        }
    }

    /// The last record that was read.
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
