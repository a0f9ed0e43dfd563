//! `GET /api/v1/schedules/{id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::Ignored;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use super::object::JobsSchedule;

/// Read a schedule.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{id}",
    operation_id = "jobs.schedule.get",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    responses(
        (status = 200, description = "The schedule", body = JobsSchedule),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &id)?;
    let read = JobsSchedule::read_one(&state, &caller, &found).await?;
    Ok(Ignored::default().answer(StatusCode::OK, read))
}
