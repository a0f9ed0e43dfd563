//! `GET /api/v1/jobs/{id}/history`: what has become of a job, told by the tasks that it was.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::task::history::Attempt;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;

use super::list::{HAS_MORE, ascending};
use crate::body::Ignored;
use crate::find;
use crate::models::job::{created_at, last_error};

/// Most entries in an answer.
const MAX_LIMIT: i64 = 500;
/// Entries in the answer to a request that does not say how many.
const USUAL_LIMIT: i64 = 100;

/// Which entries.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsJobHistoryParams {
    /// `asc` (without it) or `desc`.
    pub order_dir: Option<String>,
    /// 1 to 500; 100 without it. What is out of range counts as the nearest.
    pub limit: Option<i64>,
    /// Entries to skip.
    pub offset: Option<i64>,
}

impl HasLists for JobsJobHistoryParams {}

/// Something that has become of a job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsJobEvent {
    pub id: String,
    /// A UUID.
    pub job_id: String,
    /// `created`, `scheduled`, `claimed`, `retried`, `completed`, `failed`, `deadlettered`, `cancelled` or `lease_expired`.
    pub event_type: &'static str,
    pub worker_id: Option<String>,
    pub details: Value,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
}

/// List what has become of a job. Of its attempts since it was last retried, the latest are kept.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/history",
    operation_id = "jobs.job.history",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the job, a UUID"), JobsJobHistoryParams),
    responses(
        (status = 200, description = "What has become of it", body = Vec<JobsJobEvent>, headers(("X-Has-More" = bool, description = "Whether more follows"))),
        (status = 404, description = "No such job", body = JobsErrorBody),
    )
)]
pub(crate) async fn job_history(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
    LenientQuery(params, warnings): LenientQuery<JobsJobHistoryParams>,
) -> Result<Response, ApiError> {
    let is_ascending = match params.order_dir.as_deref() {
        None | Some("") => true,
        given => ascending(given)?,
    };
    let tasks = find::tasks(&state, &caller, &id).await?;
    let mut all = Vec::new();
    for (at, task) in tasks.iter().enumerate() {
        let is_last = at + 1 == tasks.len();
        tell(&mut all, task, at == 0, is_last, entropy::now());
    }
    if !is_ascending {
        all.reverse();
    }
    let limit = params.limit.unwrap_or(USUAL_LIMIT).clamp(1, MAX_LIMIT);
    let limit = usize::try_from(limit).unwrap_or(1);
    let offset = params.offset.unwrap_or(0).max(0);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let has_more = all.len() > offset.saturating_add(limit);
    let shown: Vec<_> = all.into_iter().skip(offset).take(limit).collect();
    let mut response = Ignored::of(warnings).answer(StatusCode::OK, shown);
    let more = HeaderValue::from_static(if has_more { "true" } else { "false" });
    response.headers_mut().insert(HAS_MORE, more);
    Ok(response)
}

/// Adds what has become of one of the tasks that a job was.
fn tell(all: &mut Vec<JobsJobEvent>, row: &TaskRow, is_first: bool, is_last: bool, now: Timestamp) {
    let job_id = row.job_root().uuid_text();
    let mut add =
        |event_type: &'static str, at: Timestamp, worker: Option<&str>, details: Value| {
            all.push(JobsJobEvent {
                id: format!("{}-{}", row.id, all.len() + 1),
                job_id: job_id.clone(),
                event_type,
                worker_id: worker.map(str::to_owned),
                details,
                created_at: Iso(at),
            });
        };
    let begun = if is_first {
        created_at(row).0
    } else {
        row.created_at
    };
    if is_first {
        let details = json!({"queue_name": row.queue, "priority": row.priority.value()});
        add("created", begun, None, details);
    } else {
        add("retried", begun, None, json!({"manual": true}));
    }
    if let Some(until) = row.not_before {
        add(
            "scheduled",
            begun,
            None,
            json!({"scheduled_at": Iso(until)}),
        );
    }
    for attempt in &row.attempts {
        let worker = attempt.worker.as_deref();
        let number = json!({"attempt": attempt.number});
        add("claimed", attempt.started_at, worker, number);
        let Some((event_type, at)) = end_of(attempt) else {
            continue;
        };
        let details = json!({"attempt": attempt.number, "error": attempt.error});
        add(event_type, at, worker, details);
        if let Some(due) = attempt.retry_at {
            let details = json!({"attempt": attempt.number, "scheduled_at": Iso(due)});
            add("retried", at, None, details);
        }
    }
    let (Some(at), Some(status)) = (row.completed_at, JobStatus::of(row, now)) else {
        // A letter that was taken out goes on as another task.
        if let (Some(at), false) = (row.completed_at, is_last) {
            add("deadlettered", at, None, json!({"error": row.error}));
        }
        return;
    };
    let worker = row.attempts.last().and_then(|last| last.worker.as_deref());
    let (event_type, worker) = match status {
        JobStatus::Completed => ("completed", worker),
        JobStatus::Deadletter => ("deadlettered", None),
        JobStatus::Cancelled => ("cancelled", None),
        JobStatus::Failed => ("failed", None),
        JobStatus::Pending | JobStatus::Scheduled | JobStatus::Processing => return,
    };
    let details = json!({"error": last_error(status, row)});
    add(event_type, at, worker, details);
}

/// How an attempt ended that did not complete the job; `None`: it runs, or has completed it.
fn end_of(attempt: &Attempt) -> Option<(&'static str, Timestamp)> {
    let took = attempt.duration_ms?;
    attempt.error.as_ref()?;
    let at = Timestamp(attempt.started_at.0.saturating_add(took.into()));
    let was_reported = attempt.settled.is_some();
    Some((
        if was_reported {
            "failed"
        } else {
            "lease_expired"
        },
        at,
    ))
}
