//! `GET /api/v1/jobs/{id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead, Need};
use waybill_edge::error::{ApiError, JobsErrorBody};

use crate::body::Ignored;
use crate::find;
use crate::models::job::JobsJob;

/// Read a job.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}",
    operation_id = "jobs.job.get",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    responses(
        (status = 200, description = "The job", body = JobsJob),
        (status = 404, description = "No such job", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = read(&state, &caller, &id).await?;
    Ok(Ignored::default().answer(StatusCode::OK, job))
}

/// Reads a job.
///
/// # Errors
/// 404 if it is missing, another team's or in a queue that the caller may not use.
pub async fn read<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    id: &str,
) -> Result<JobsJob, ApiError> {
    let found = find::whole(state, caller, id).await?;
    let dependencies_met = find::dependencies_met(state, caller, &found).await?;
    Ok(JobsJob {
        dependencies_met,
        ..JobsJob::read(found.status, found.view)
    })
}
