//! `GET /api/v1/jobs/{id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
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
    let found = find::whole(&state, &caller, &id).await?;
    let dependencies_met = find::dependencies_met(&state, &caller, &found).await?;
    let job = JobsJob {
        dependencies_met,
        ..JobsJob::read(found.status, found.view)
    };
    Ok(Ignored::default().answer(StatusCode::OK, job))
}
