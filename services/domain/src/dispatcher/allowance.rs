//! What is left of a length of time that a task may take.

use std::time::Duration;

use crate::time::{Elapsed, Times, Timestamp};

/// The rest of `expiresIn` or of `maxAge`, by this owner's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Allowance {
    /// There is no such limit.
    #[default]
    Endless,
    /// It is over at this reading.
    Until(Elapsed),
    /// According to the wall clock, it was over when this owner took over. Clocks may be
    /// wrong, and meanwhile no worker served the task, so it may have one more attempt.
    OneMore,
}

impl Allowance {
    /// Of a length that began at `since`, for an owner that takes over now.
    pub(super) fn of(length: Option<Duration>, since: Timestamp, now: Times) -> Self {
        match length {
            None => Self::Endless,
            Some(length) => match now.end_of(since, length) {
                end if end <= now.elapsed => Self::OneMore,
                end => Self::Until(end),
            },
        }
    }

    /// Whether it is over at that reading.
    pub(super) fn is_over(self, at: Elapsed) -> bool {
        matches!(self, Self::Until(end) if end <= at)
    }

    /// What is left once an attempt begins: the one more attempt is the last.
    pub(super) fn after_start(self, at: Elapsed) -> Self {
        match self {
            Self::OneMore => Self::Until(at),
            other => other,
        }
    }
}
