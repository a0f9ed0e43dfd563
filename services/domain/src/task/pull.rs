//! Pulled tasks: what workers of a team claim, instead of Waybill calling a target.
//!
//! A claim is the start of an attempt, so the task and the number of the attempt are what fences it:
//! every later claim has a higher number, and what is reported for a lower one changes nothing. Its
//! lease is a length of time that begins anew with each heartbeat; when it is over, the attempt has
//! failed and the task goes back to others.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{InvalidId, TaskId};
use crate::time::Timestamp;

/// Limit of the message of a progress, and of the error that a worker reports, in characters.
pub const MAX_MESSAGE_CHARS: usize = 2_048;
/// Shortest and longest lease.
pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);
pub const LONGEST_LEASE: Duration = Duration::from_secs(3_600);
/// Most tasks of one claim, and most reports of one request.
pub const MAX_CLAIMED: usize = 100;
/// Most queues that one claim names.
pub const MAX_CLAIMED_QUEUES: usize = 100;

/// The claim by which an attempt started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// Name of the worker, as it calls itself.
    pub worker: String,
    /// Length of the lease, in milliseconds. Without a heartbeat, the attempt has failed when it is
    /// over.
    pub lease_ms: u32,
    /// Number of the request that claimed it, drawn by its gateway: a request that is repeated gets
    /// what it was given before.
    pub ask: u64,
}

/// The lease of a running attempt, as a restatement carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseStanding {
    /// Name of the worker that holds it.
    pub worker: String,
    /// When it was given or last extended.
    pub since: Timestamp,
    /// Its length from then on, in milliseconds.
    pub lease_ms: u32,
    /// Number of the request that claimed it.
    pub ask: u64,
}

/// How far a worker has come, as it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// What it is doing, in its words.
    pub message: Option<String>,
    pub at: Timestamp,
}

/// How a worker ended its claim. A claim that ended otherwise was lost: its lease was over, or the
/// task was cancelled or expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    Completed,
    Failed,
    /// Given back without counting.
    Released,
}

impl Settled {
    /// The word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Released => "released",
        }
    }
}

/// Names a claim to clients: its task, and the number of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId {
    pub task: TaskId,
    /// Number of the attempt, from 1.
    pub attempt: u32,
}

impl ClaimId {
    const PREFIX: &'static str = "claim_";
    const TASK_PREFIX: &'static str = "task_";

    /// Parses exactly what `Display` writes.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let read = || {
            let (task, number) = text.strip_prefix(Self::PREFIX)?.split_once('_')?;
            let attempt: u32 = number.parse().ok().filter(|attempt| *attempt > 0)?;
            let id = Self {
                task: TaskId::parse(&format!("{}{task}", Self::TASK_PREFIX)).ok()?,
                attempt,
            };
            (id.to_string() == text).then_some(id)
        };
        read().ok_or(InvalidId { kind: "claim id" })
    }
}

impl std::fmt::Display for ClaimId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let task = self.task.to_string();
        let rest = task.strip_prefix(Self::TASK_PREFIX).unwrap_or(&task);
        write!(f, "{}{rest}_{}", Self::PREFIX, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;

    #[test]
    fn a_claim_is_read_as_it_is_written_and_in_no_other_spelling() {
        let task = TaskId::new(Timestamp(1), 7, Partition::new(3).expect("a partition"));
        let id = ClaimId { task, attempt: 12 };
        let text = id.to_string();
        assert_eq!(ClaimId::parse(&text), Ok(id));
        for other in [
            text.replace("_12", "_012"),
            text.replace("_12", "_+12"),
            text.replace("_12", "_0"),
            text.replace("_12", ""),
            text.replace("claim_", "task_"),
            text.to_uppercase(),
            format!("{text} "),
            String::new(),
        ] {
            assert!(ClaimId::parse(&other).is_err(), "{other}");
        }
    }
}
