//! Queries about schedules: their runs, and which of some runs have a task.

use serde::{Deserialize, Serialize};
use waybill_domain::event::ScheduleSettled;
use waybill_domain::id::{ScheduleId, TaskId, TeamId};
use waybill_domain::recurring::RunOf;
use waybill_domain::task::{EndReason, Status};
use waybill_domain::time::Timestamp;

/// Limit of the keys in one question.
pub const MAX_KEYS: usize = 500;

/// What became of the instants of a schedule, latest decision first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRuns {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    pub schedule: ScheduleId,
    /// From 1 to [`super::MAX_LIMIT`].
    pub limit: u16,
    pub cursor: Option<String>,
}

query!(ListRuns => RunPage, "wb.query.runs");

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPage {
    pub runs: Vec<Run>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// What became of an instant, or of several that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Run {
    /// A task was made.
    Made {
        task: TaskId,
        run: RunOf,
        /// Its status now.
        status: Status,
        /// Why it ended, if it has.
        end_reason: Option<EndReason>,
        at: Timestamp,
    },
    /// None was.
    Not(Box<ScheduleSettled>),
}

/// How often schedules have run, as far as their tasks are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyRuns {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    /// Up to [`MAX_KEYS`].
    pub schedules: Vec<ScheduleId>,
}

// In the order of the schedules.
query!(TallyRuns => Vec<RunTally>, "wb.query.runs_tally");

/// How often a schedule has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunTally {
    /// How many of its tasks are kept; none beyond [`MAX_TALLIED`] is counted.
    pub count: u32,
    /// When the last of them was made.
    pub last_at: Option<Timestamp>,
}

/// Limit of the runs of a schedule that are counted.
pub const MAX_TALLIED: u32 = 10_000;

/// Of each idempotency key, whether a task was created with it that is still kept.
///
/// As with [`super::ByIdempotencyKey`], only a replica answers that was caught up within the last
/// minute; what it does not know falls within the server's duplicate window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreKeysUsed {
    /// Up to [`MAX_KEYS`].
    pub keys: Vec<(TeamId, String)>,
}

// In the order of the keys.
query!(AreKeysUsed => Vec<bool>, "wb.query.keys_used");
