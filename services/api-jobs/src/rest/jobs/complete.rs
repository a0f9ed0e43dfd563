//! `POST /api/v1/jobs/{id}/complete`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::WorkerReport;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::claims::as_answer;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::settle::{Report, settle};
use crate::body::Body;

/// A finished job.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsComplete {
    /// The worker that claimed it.
    pub worker_id: String,
    /// The lease that the claim gave.
    pub lease_id: String,
    /// What came of it: any JSON, as large as the plan stores.
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
}

/// It was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsSuccess {
    pub success: bool,
}

/// Complete a job that a worker holds.
///
/// A completion is taken once: repeated, it is answered with 409, `Job is already completed`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/complete",
    operation_id = "jobs.job.complete",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsComplete,
    responses(
        (status = 200, description = "It is completed", body = JobsSuccess),
        (status = 404, description = "No such job, or another worker claimed it last", body = JobsErrorBody),
        (status = 409, description = "It has ended (`CONFLICT`), or the lease is over (`LEASE_EXPIRED`); nothing was changed", body = JobsErrorBody),
        (status = 422, description = "The body has not the shape, or no `lease_id`", body = JobsErrorBody),
    )
)]
pub(crate) async fn complete_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsComplete>,
) -> Result<Response, ApiError> {
    complete(&state, &caller, &id, request).await?;
    Ok(ignored.answer(StatusCode::OK, JobsSuccess { success: true }))
}

/// Completes a job that a worker holds.
///
/// # Errors
/// If the worker does not hold it, or the result is larger than the plan stores.
pub async fn complete(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    id: &str,
    request: JobsComplete,
) -> Result<(), ApiError> {
    let what = WorkerReport::Complete {
        result: as_answer(request.result, &caller.plan)?,
    };
    let report = Report {
        job: id,
        worker: &request.worker_id,
        lease: &request.lease_id,
        what,
        lost: "Job lease expired before completion",
    };
    settle(state, caller, report).await?;
    Ok(())
}
