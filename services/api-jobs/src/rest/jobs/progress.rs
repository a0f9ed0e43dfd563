//! `POST /api/v1/jobs/{id}/progress`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::WorkerReport;
use waybill_domain::task::pull::MAX_MESSAGE_CHARS;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::complete::JobsSuccess;
use super::settle::{Report, current_lease, settle};
use crate::body::Body;
use crate::rules;

/// How far a worker has come.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsProgress {
    /// The worker that claimed the job.
    pub worker_id: String,
    /// The lease that the claim gave; without it, the present one of that worker.
    pub lease_id: Option<String>,
    /// 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    pub progress: f64,
    /// What it is doing, at most 2048 characters.
    #[schema(max_length = 2048)]
    pub message: Option<String>,
}

/// Tell how far a job has come, which extends its lease by its length.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/progress",
    operation_id = "jobs.job.progress",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsProgress,
    responses(
        (status = 200, description = "It is stored", body = JobsSuccess),
        (status = 404, description = "No such job, or another worker claimed it last", body = JobsErrorBody),
        (status = 409, description = "It has ended (`CONFLICT`), or the lease is over (`LEASE_EXPIRED`)", body = JobsErrorBody),
    )
)]
pub(crate) async fn report_progress(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsProgress>,
) -> Result<Response, ApiError> {
    if !(0.0..=100.0).contains(&request.progress) {
        let text = format!("must be between 0 and 100, not {}", request.progress);
        return Err(rules::broken("progress", text, "range"));
    }
    let length = request
        .message
        .as_ref()
        .map_or(0, |text| text.chars().count());
    if length > MAX_MESSAGE_CHARS {
        let text = format!("must be at most {MAX_MESSAGE_CHARS} characters, not {length}");
        return Err(rules::broken("message", text, "length"));
    }
    let lease = match request.lease_id {
        Some(lease) => lease,
        None => {
            let lease = current_lease(&state, &caller, &id).await?;
            lease.map(|lease| lease.to_string()).unwrap_or_default()
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 100"
    )]
    let percent = request.progress.floor() as u8;
    let report = Report {
        job: &id,
        worker: &request.worker_id,
        lease: &lease,
        what: WorkerReport::Progress {
            lease_ms: None,
            percent: Some(percent),
            message: request.message,
        },
        lost: "Job lease expired and cannot be extended",
    };
    settle(&state, &caller, report).await?;
    Ok(ignored.answer(StatusCode::OK, JobsSuccess { success: true }))
}
