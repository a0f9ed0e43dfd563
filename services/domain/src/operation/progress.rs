//! How far an operation has come, how fast it may go on, and when that is written down.

use std::time::Duration;

use crate::event::ItemRefused;
use crate::id::TaskId;

/// Limit of refusals that are listed; further ones are counted.
pub const MAX_REFUSALS: usize = 100;
/// Longest sentence of a refusal, in characters.
const MAX_ERROR_CHARS: usize = 300;
/// Shortest time between two checkpoints.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// Longest time without a checkpoint.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An operation is written down after each such part of its tasks.
const PARTS: u64 = 100;

/// What an operation has done from its beginning up to a place among its tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Where the rest begins; `None`: at the start.
    pub cursor: Option<String>,
    /// Tasks to which it was done.
    pub done: u64,
    /// Tasks to which it could not be done.
    pub refused: u64,
    /// The first [`MAX_REFUSALS`] of these.
    pub refusals: Vec<ItemRefused>,
}

/// What became of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was done, now or before.
    Done,
    /// It could not be done, and repeating it would not help.
    Refused {
        /// A stable word, as in the body of an error.
        code: String,
        /// A sentence for people.
        error: String,
    },
    /// The task is none of the operation's after all.
    Skipped,
}

impl Progress {
    /// Takes in a whole slice, in its order, and goes on behind it.
    pub fn take_in(
        &mut self,
        verdicts: impl IntoIterator<Item = (TaskId, Verdict)>,
        next: Option<String>,
    ) {
        for (task, verdict) in verdicts {
            match verdict {
                Verdict::Done => self.done += 1,
                Verdict::Skipped => {}
                Verdict::Refused { code, error } => {
                    self.refused += 1;
                    if self.refusals.len() < MAX_REFUSALS {
                        let error = error.chars().take(MAX_ERROR_CHARS).collect();
                        self.refusals.push(ItemRefused { task, code, error });
                    }
                }
            }
        }
        if next.is_some() {
            self.cursor = next;
        }
    }

    /// Tasks that were counted.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.done + self.refused
    }

    /// Whether it is time to write this down, `since` the last time: after each hundredth of the
    /// tasks but at most once a second, and at least once a minute.
    #[must_use]
    pub fn is_due(&self, last: &Self, matched: u64, since: Duration) -> bool {
        let taken = self.counted().saturating_sub(last.counted());
        let part = matched.div_ceil(PARTS).max(1);
        (taken >= part && since >= LEAST_PAUSE) || (self != last && since >= LONGEST_PAUSE)
    }
}

/// Spaces tasks evenly. What was late is not made up for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    every: Duration,
    next: Duration,
}

impl Pace {
    /// So many a second, at least one.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / rate.max(1),
            next: Duration::ZERO,
        }
    }

    /// When the next task may begin; both times are since any one moment.
    pub fn turn(&mut self, now: Duration) -> Duration {
        let at = self.next.max(now);
        self.next = at + self.every;
        at
    }
}
