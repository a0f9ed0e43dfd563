//! Queries about figures over time.

use serde::{Deserialize, Serialize};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::time::Timestamp;

/// Steps in one answer, those of all series together.
pub const MAX_STEPS: u64 = 2_000;
/// Queues that a query may name.
pub const MAX_STATS_QUEUES: usize = 20;

/// What happened to the tasks of a team in a time, step by step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetStats {
    pub team: TeamId,
    /// The time up to now, in milliseconds: a multiple of `step_ms`.
    pub window_ms: u64,
    /// In milliseconds: a multiple of 10 s for a time of up to 2 h, of 1 min for one of up to 2 days, of 1 h for one of up to 30 days.
    pub step_ms: u64,
    /// The steps of these queues as well, and only their figures. Empty: the figures of each queue, without steps.
    pub queues: Vec<QueueName>,
}

query!(GetStats => Stats, "wb.query.stats");

/// What happened to the tasks of a team in a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Beginning of the first step.
    pub from: Timestamp,
    /// End of the last step, which is under way.
    pub to: Timestamp,
    /// Of all queues.
    pub all: Series,
    /// By name.
    pub queues: Vec<(QueueName, Series)>,
    /// Whether some queues are missing, because there is too much to add up.
    pub truncated: bool,
}

/// The figures of a time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Series {
    /// Of the whole time.
    pub sum: Figures,
    /// Of each step, oldest first; empty if not asked for.
    pub steps: Vec<Figures>,
}

/// What happened in a step or in a whole time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Tasks created.
    pub accepted: u64,
    /// Tasks that ended as completed, failed, timeout, cancelled.
    pub ended: [u64; 4],
    /// Of those: the ones that count as a success.
    pub ok: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Of tasks that began: from when they were to run to their first attempt.
    pub wait: Lengths,
    /// Of tasks that ended and were not cancelled: from when they were to run to their end.
    pub total: Lengths,
}

/// Percentiles of lengths of time, in milliseconds; `None` of none. Each is within 3.2 % of the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lengths {
    pub p50: Option<u64>,
    pub p95: Option<u64>,
    pub p99: Option<u64>,
}
