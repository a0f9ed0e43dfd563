//! What becomes of the instants that are due: each has one outcome.
//!
//! Two that decide at once, because one of them was frozen while the other took over, may come to
//! different outcomes. A task that was made is there, so
//! [`outcome_of_both`](crate::recurring::outcome_of_both) says which counts.

use super::when::Due;
use crate::recurring::{CatchUp, Outcome};
use crate::time::Timestamp;

/// How late an instant may be without being a matter of catching up, in milliseconds: longer than
/// it takes another gateway to go on when one dies.
pub const ON_TIME_MS: i64 = 60_000;
/// Limit of the instants that are caught up at once.
pub const MAX_CAUGHT_UP: u32 = 1_000;

/// A time during which a schedule was paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant that is no longer paused; `None`: none is.
    pub until: Option<Timestamp>,
}

impl Interval {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// What is known of a schedule besides its instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    pub catch_up: CatchUp,
    /// When it was paused.
    pub pauses: &'a [Interval],
}

/// Instants that follow each other and have the same outcome. One that fires stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub outcome: Outcome,
    /// The first instant.
    pub from: Due,
    /// The last instant.
    pub to: Timestamp,
    /// How many.
    pub count: u64,
}

/// Decides about the instants that have no outcome yet and are due `now`, in their order.
#[must_use]
pub fn settle(
    due: impl Iterator<Item = Due> + Clone,
    standing: &Standing<'_>,
    now: Timestamp,
) -> Vec<Settled> {
    let due = due.take_while(|due| due.at <= now);
    let is_paused = |at| standing.pauses.iter().any(|pause| pause.holds(at));
    let fate = |at: Timestamp| {
        if is_paused(at) {
            Fate::Paused
        } else if now.0.saturating_sub(at.0) <= ON_TIME_MS {
            Fate::OnTime
        } else {
            Fate::Late
        }
    };
    let (most, within_ms) = match standing.catch_up {
        CatchUp::None => (0, 0),
        CatchUp::Last => (1, i64::MAX),
        CatchUp::All { most, within_ms } => (most.min(MAX_CAUGHT_UP), within_ms),
    };
    let is_within = |at: Timestamp| now.0.saturating_sub(at.0) <= within_ms;
    // Of those that are late, the last ones fire, and none before something that is on time if only
    // the last is wanted.
    let (mut late, mut is_on_time) = (0_u64, false);
    for due in due.clone() {
        match fate(due.at) {
            Fate::Late if is_within(due.at) => late += 1,
            Fate::OnTime => is_on_time = true,
            Fate::Late | Fate::Paused => {}
        }
    }
    let caught_up = match standing.catch_up {
        CatchUp::Last if is_on_time => 0,
        _ => late.min(most.into()),
    };
    let mut to_miss = late - caught_up;
    let mut settled: Vec<Settled> = Vec::new();
    for due in due {
        let outcome = match fate(due.at) {
            Fate::Paused => Outcome::Paused,
            Fate::Late if !is_within(due.at) => Outcome::Missed,
            Fate::Late if to_miss > 0 => {
                to_miss -= 1;
                Outcome::Missed
            }
            Fate::Late | Fate::OnTime => Outcome::Fired,
        };
        match settled.last_mut() {
            Some(last) if last.outcome == outcome && outcome != Outcome::Fired => {
                last.to = due.at;
                last.count += 1;
            }
            _ => settled.push(Settled {
                outcome,
                from: due,
                to: due.at,
                count: 1,
            }),
        }
    }
    settled
}

enum Fate {
    Paused,
    OnTime,
    Late,
}
