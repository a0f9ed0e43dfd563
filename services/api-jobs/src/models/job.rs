//! A job as it is read.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use waybill_domain::event::BodyEncoding;
use waybill_domain::flow::RunAfterMode;
use waybill_domain::task::{ClaimId, JobStatus, TaskRow};
use waybill_edge::iso::Iso;
use waybill_projector::query::{Detail, TaskDetail, TaskView};

use super::status::JobsStatus;
use crate::find::uuid_text;

/// Seconds that a worker should take at most, if its client says nothing else.
pub const USUAL_TIMEOUT_S: u32 = 300;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsJob {
    /// A UUID. It stays the same when the job is retried.
    pub id: String,
    pub organization_id: String,
    pub queue_name: String,
    pub status: JobsStatus,
    /// Any JSON, as it was given.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// What its worker completed it with.
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
    /// Failures and lost leases so far.
    pub retry_count: u16,
    pub max_retries: u16,
    pub last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    /// When it may be claimed: its client's wish, or the end of the pause after a failure.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub scheduled_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
    /// It ends as `failed` at this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Iso>,
    /// -100 to 100; higher ones are claimed first.
    pub priority: i16,
    /// An object or a list.
    #[schema(value_type = Option<serde_json::Value>)]
    pub tags: Option<Box<RawValue>>,
    pub timeout_seconds: u32,
    pub parent_job_id: Option<String>,
    pub completion_webhook: Option<String>,
    /// The worker that claimed it last.
    pub assigned_worker_id: Option<String>,
    /// The lease of that worker, while it holds the job.
    pub lease_id: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_expires_at: Option<Iso>,
    pub idempotency_key: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Iso,
    pub workflow_id: Option<String>,
    pub dependency_mode: Option<RunAfterMode>,
    /// Whether those that it runs after let it run.
    pub dependencies_met: bool,
}

impl JobsJob {
    pub fn read(status: JobStatus, view: TaskView) -> Self {
        let detail = match view.detail {
            Detail::Read(detail) => *detail,
            Detail::Omitted | Detail::Dropped => TaskDetail::default(),
        };
        let row = &view.row;
        let last = row.attempts.last();
        let is_held = status == JobStatus::Processing;
        let claim = last.filter(|_| is_held).map(|attempt| ClaimId {
            task: row.id,
            attempt: attempt.number,
        });
        let result = detail.result.filter(|_| status == JobStatus::Completed);
        let job = row.job.as_deref();
        let member = row.member.as_deref();
        // A key that Waybill made did not come from the client.
        let key = row.idempotency_key.clone();
        Self {
            id: row.job_root().uuid_text(),
            organization_id: row.team.base_str().to_owned(),
            queue_name: row.queue.to_string(),
            status: status.into(),
            payload: json(
                detail.body.as_deref().unwrap_or("null"),
                detail.body_encoding,
            ),
            result: result
                .filter(|answer| !answer.body.is_empty())
                .map(|answer| json(&answer.body, answer.encoding)),
            retry_count: row.retry_count,
            max_retries: row.max_retries,
            last_error: last_error(status, row),
            created_at: created_at(row),
            scheduled_at: scheduled_at(row),
            started_at: row.started_at.map(Iso),
            completed_at: row.completed_at.map(Iso),
            expires_at: expires_at(row),
            priority: row.priority.value(),
            tags: detail
                .job_tags
                .and_then(|tags| RawValue::from_string(tags).ok()),
            timeout_seconds: job.and_then(|job| job.timeout_s).unwrap_or(USUAL_TIMEOUT_S),
            parent_job_id: None,
            completion_webhook: None,
            assigned_worker_id: last.and_then(|attempt| attempt.worker.clone()),
            lease_id: claim.map(|claim| claim.to_string()),
            lease_expires_at: row.lease_until.filter(|_| is_held).map(Iso),
            idempotency_key: key.filter(|key| !key.contains('→')),
            updated_at: Iso(row.updated_at),
            workflow_id: member.map(|member| uuid_text(member.workflow.bits())),
            dependency_mode: member.map(|member| member.mode),
            dependencies_met: true,
        }
    }
}

/// A body as JSON: as it stands, if it is some, else as a text.
pub fn json(body: &str, encoding: BodyEncoding) -> Box<RawValue> {
    let is_text = encoding == BodyEncoding::Text;
    let read = is_text.then(|| RawValue::from_string(body.to_owned()).ok());
    read.flatten()
        .or_else(|| to_raw_value(body).ok())
        .unwrap_or_else(|| RawValue::NULL.to_owned())
}

/// When the job was created, which a retry does not change.
pub fn created_at(row: &TaskRow) -> Iso {
    let root = row.job_root();
    Iso(if root == row.id {
        row.created_at
    } else {
        root.made_at()
    })
}

/// When it ends if it was not done.
fn expires_at(row: &TaskRow) -> Option<Iso> {
    let after = row.expires_in_ms.map(Duration::from_millis);
    let expiry = after.map(|after| row.created_at.plus(after));
    row.deadline.into_iter().chain(expiry).min().map(Iso)
}

pub fn scheduled_at(row: &TaskRow) -> Option<Iso> {
    row.retry_at.or(row.not_before).map(Iso)
}

pub fn last_error(status: JobStatus, row: &TaskRow) -> Option<String> {
    match status {
        JobStatus::Failed => Some("Job expired".to_owned()),
        _ => row.error.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_as_it_stands_or_a_text() {
        let text = BodyEncoding::Text;
        for (body, encoding, expected) in [
            (
                r#"{"b":1,"a":123456789012345678901}"#,
                text,
                r#"{"b":1,"a":123456789012345678901}"#,
            ),
            ("null", text, "null"),
            ("hello", text, r#""hello""#),
            ("123", BodyEncoding::Base64, r#""123""#),
        ] {
            assert_eq!(json(body, encoding).get(), expected);
        }
    }
}
