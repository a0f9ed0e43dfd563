//! `DELETE /api/v1/jobs/{id}`: a job that waits is cancelled.

use axum::extract::{Path, State};
use axum::response::Response;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::OwnerRequest;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};

use crate::body::Ignored;
use crate::{find, owner};

/// Cancel a job that nobody has claimed.
#[utoipa::path(
    delete,
    path = "/api/v1/jobs/{id}",
    operation_id = "jobs.job.cancel",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    responses(
        (status = 204, description = "Cancelled"),
        (status = 404, description = "No such job", body = JobsErrorBody),
        (status = 409, description = "It is neither pending nor scheduled", body = JobsErrorBody),
    )
)]
pub(crate) async fn cancel_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let found = find::row(&state, &caller, &id).await?;
    if !matches!(found.status, JobStatus::Pending | JobStatus::Scheduled) {
        return Err(not_waiting());
    }
    let task = found.row().id;
    let request = OwnerRequest::CancelWaiting {
        task,
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(caller.context().traceparent.to_string()),
    };
    let asked = (task.partition(), &request);
    if !owner::change(&state, &caller, &id, asked).await? {
        return Err(not_waiting());
    }
    Ok(Ignored::default().empty())
}

fn not_waiting() -> ApiError {
    ApiError::conflict(
        ErrorCode::Conflict,
        "Job cannot be cancelled (not in pending or scheduled state)",
    )
}
