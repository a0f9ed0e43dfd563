//! What events say of schedules: their policies, what became of their instants, and the names of
//! their runs.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::id::ScheduleId;
use crate::time::Timestamp;

/// Longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(3_600);

/// What follows when an instant is due while an earlier run has not ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// Each run waits for the end of the one before it.
    BufferAll,
    /// The runs that have not ended are cancelled, and it starts after their end.
    CancelOther,
    /// It starts beside the others.
    Allow,
    /// It waits for the end of the one that runs, unless another one waits already: then it is
    /// skipped.
    BufferOne,
}

/// What follows when instants were due while nothing could run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CatchUp {
    /// All are missed.
    None,
    /// The last one fires.
    #[default]
    Last,
    /// The last ones fire, in their order.
    All {
        /// How many, up to 1,000.
        most: u32,
        /// Those of the last milliseconds.
        within_ms: i64,
    },
}

/// What became of an instant. Of two outcomes, the later one of this order counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The schedule was paused.
    Paused,
    /// Nothing could run in time and it was not caught up, or its task was refused.
    Missed,
    /// Its task was made.
    Fired,
}

/// Which of two outcomes of an instant counts, whoever decided first: a task that was made is there.
#[must_use]
pub fn outcome_of_both(a: Outcome, b: Outcome) -> Outcome {
    a.max(b)
}

/// Names the run of a schedule: the hash of the schedule, of its version and the instant that is due,
/// or of what somebody asked for. So whoever makes the run a second time finds the first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct RunId([u8; 16]);

/// A text that names no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a run")]
pub struct NoRunId;

impl RunId {
    const PREFIX: &'static str = "run_";

    /// The run that is due at an instant.
    #[must_use]
    pub fn due(schedule: &ScheduleId, version: u32, due: Timestamp) -> Self {
        Self::of(&format!("{schedule} {version} due {}", due.0))
    }

    /// The run that somebody asked for; `request` tells such requests apart. Whoever repeats one means
    /// the same run, also when the schedule was set anew meanwhile.
    #[must_use]
    pub fn manual(schedule: &ScheduleId, request: &str) -> Self {
        Self::of(&format!("{schedule} manual {request}"))
    }

    fn of(what: &str) -> Self {
        let digest = Sha256::digest(what);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }

    /// The idempotency key of the run's task. Keys of clients are ASCII, so none is like this.
    #[must_use]
    pub fn key(self) -> String {
        format!("run→{self}")
    }

    /// How much later than its instant the run starts: less than `most`, and always as much.
    #[must_use]
    pub fn jitter(self, most: Duration) -> Duration {
        let most = u64::try_from(most.min(MAX_JITTER).as_millis()).unwrap_or(u64::MAX);
        let mut drawn = [0; 8];
        drawn.copy_from_slice(&self.0[..8]);
        Duration::from_millis(u64::from_be_bytes(drawn).checked_rem(most).unwrap_or(0))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, hex::encode(self.0))
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.to_string()
    }
}

impl TryFrom<String> for RunId {
    type Error = NoRunId;

    fn try_from(text: String) -> Result<Self, NoRunId> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(NoRunId)?;
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| NoRunId)?;
        Ok(Self(bytes))
    }
}

/// The run of a schedule that a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunOf {
    pub schedule: ScheduleId,
    /// The version of the schedule that was due.
    pub version: u32,
    pub run: RunId,
    /// The instant that it is due for; of a run that somebody asked for, when that was.
    pub due: Timestamp,
    /// Whether somebody asked for it.
    #[serde(default)]
    pub manual: bool,
}
