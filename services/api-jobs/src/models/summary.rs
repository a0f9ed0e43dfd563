//! A job in a list.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_edge::iso::Iso;

use super::job::{created_at, last_error, scheduled_at};
use super::status::JobsStatus;

/// A job in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsSummary {
    /// A UUID.
    pub id: String,
    pub queue_name: String,
    pub status: JobsStatus,
    /// -100 to 100.
    pub priority: i16,
    /// The same as `retry_count`.
    pub attempt: u16,
    /// Failures and lost leases so far.
    pub retry_count: u16,
    pub max_retries: u16,
    /// The member `job_type` of the payload; empty if it has none.
    pub job_type: String,
    pub last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
}

impl JobsSummary {
    pub fn new(status: JobStatus, row: &TaskRow) -> Self {
        let job_type = row.job.as_ref().and_then(|job| job.job_type.clone());
        Self {
            id: row.job_root().uuid_text(),
            queue_name: row.queue.to_string(),
            status: status.into(),
            priority: row.priority.value(),
            attempt: row.retry_count,
            retry_count: row.retry_count,
            max_retries: row.max_retries,
            job_type: job_type.unwrap_or_default(),
            last_error: last_error(status, row),
            created_at: created_at(row),
            scheduled_at: scheduled_at(row),
            started_at: row.started_at.map(Iso),
            completed_at: row.completed_at.map(Iso),
        }
    }
}
