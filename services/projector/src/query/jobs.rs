//! Queries about jobs, which are the tasks that workers pull, as the jobs API tells of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_domain::time::Timestamp;

/// Jobs of a team. One that was retried after its end is found as the task that it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListJobs {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    /// Only with one of these; empty: with any.
    pub statuses: Vec<JobStatus>,
    pub queue: Option<QueueName>,
    /// Only in one of these queues, besides `queue`; empty: in any.
    pub queues: Vec<QueueName>,
    /// Of these queues none that ended before that time.
    pub hidden: BTreeMap<QueueName, Timestamp>,
    /// Only accepted at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only accepted before this time.
    pub created_before: Option<Timestamp>,
    /// How the id begins, or a part of the queue or of the type, ignoring case.
    pub q: Option<String>,
    pub job_type: Option<String>,
    /// A key of the tags, or an entry.
    pub tag: Option<String>,
    pub order: JobOrder,
    pub ascending: bool,
    /// From 1 to [`MAX_JOBS`].
    pub limit: u16,
    /// Number of jobs to skip, up to [`super::MAX_OFFSET`].
    pub offset: u32,
}

/// Largest number of jobs in one answer.
pub const MAX_JOBS: u16 = 100;

query!(ListJobs => JobPage, "wb.query.jobs");

/// By what jobs are ordered. By anything but the creation, newest first, they are sorted among the
/// newest [`super::MAX_SCAN`] tasks that the indexes lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobOrder {
    #[default]
    CreatedAt,
    UpdatedAt,
    Priority,
    ScheduledAt,
    Status,
}

impl JobOrder {
    pub const ALL: [Self; 5] = [
        Self::CreatedAt,
        Self::UpdatedAt,
        Self::Priority,
        Self::ScheduledAt,
        Self::Status,
    ];

    /// The name in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::Priority => "priority",
            Self::ScheduledAt => "scheduled_at",
            Self::Status => "status",
        }
    }

    /// Reads what [`JobOrder::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.as_str() == text)
    }
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPage {
    pub jobs: Vec<ListedJob>,
    /// Whether there are more.
    pub has_more: bool,
}

/// A job in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedJob {
    pub status: JobStatus,
    pub row: TaskRow,
}

/// Number of jobs by status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountJobs {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only of these queues; empty: of all.
    pub queues: Vec<QueueName>,
}

query!(CountJobs => JobCounts, "wb.query.job_counts");

/// Numbers of jobs, over those that the log still has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobCounts {
    /// For each status, in the order of [`JobStatus::ALL`].
    pub by_status: Vec<u64>,
}

impl JobCounts {
    /// How many jobs have that status.
    #[must_use]
    pub fn of(&self, status: JobStatus) -> u64 {
        self.by_status.get(status as usize).copied().unwrap_or(0)
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_status.iter().sum()
    }
}
