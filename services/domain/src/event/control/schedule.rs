//! Events of schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{Environment, QueueName, ScheduleId, TeamId};
use crate::recurring::{CatchUp, Outcome, Overlap};
use crate::time::Timestamp;

/// A schedule was created, or replaced by its next version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSet {
    pub schedule: ScheduleId,
    pub team: TeamId,
    /// Environment of the tasks.
    pub environment: Environment,
    /// From 1, one more with each replacement.
    pub version: u32,
    /// Name shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it is due, as given: `cron(...)`, `crontab(...)`, `every ...` or `at ...`.
    pub when: String,
    /// IANA name of the zone, or its distance from UTC.
    pub zone: String,
    /// Version of the database of zones by which it was checked.
    pub zones: String,
    /// It is not due earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// It is not due later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Runs start up to this much later, in milliseconds.
    #[serde(default)]
    pub jitter_ms: u32,
    /// The request for a task, as JSON, in which templates are not filled in.
    pub task: String,
    /// Who set it, in the form of the header `Wb-Actor`.
    pub set_by: String,
    pub at: Timestamp,
    /// What only schedules of the jobs API have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Box<ScheduledJob>>,
}

/// What a schedule of the jobs API says beyond its task. Its runs are jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduledJob {
    pub queue: QueueName,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// From -100 to 100; absent: what the queue says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i16>,
    /// Absent: what the queue says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u16>,
    /// How many seconds a worker should take at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
    /// Tags of each job, as JSON: an object or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// The client's own, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// When its first version was set.
    pub created_at: Timestamp,
}

/// What is due from now on does not run until the schedule is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulePaused {
    pub schedule: ScheduleId,
    pub team: TeamId,
    pub environment: Environment,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the pause ends by itself; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who paused it, in the form of the header `Wb-Actor`.
    pub paused_by: String,
    pub at: Timestamp,
}

/// A paused schedule is due again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleResumed {
    pub schedule: ScheduleId,
    pub team: TeamId,
    pub environment: Environment,
    pub at: Timestamp,
}

/// A schedule is never due again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleDeleted {
    pub schedule: ScheduleId,
    pub team: TeamId,
    pub environment: Environment,
    pub at: Timestamp,
}

/// Instants that follow each other did not fire. Those that fire are told by their tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleSettled {
    pub schedule: ScheduleId,
    pub team: TeamId,
    pub environment: Environment,
    pub version: u32,
    pub outcome: Outcome,
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
    /// How many.
    pub count: u64,
    /// Why the task of the run was refused, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    pub at: Timestamp,
}

/// Whatever was due by then, of all schedules, has an outcome. Whoever runs schedules from now on
/// need not look at anything earlier. Written every ten minutes at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchedulesReached {
    pub to: Timestamp,
    pub at: Timestamp,
}
