//! `DELETE /api/v1/schedules/{id}`: it makes no further job.

use axum::extract::{Path, State};
use axum::response::Response;
use waybill_api_jobs::body::Ignored;
use waybill_api_tasks::TasksApi;
use waybill_domain::schedule::ScheduleCommand;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use super::pause::run;

/// Delete a schedule. Jobs that it made go on.
#[utoipa::path(
    delete,
    path = "/api/v1/schedules/{id}",
    operation_id = "jobs.schedule.delete",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    responses(
        (status = 204, description = "It makes no further job"),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn delete_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &id)?;
    run(&state, &caller, &found, ScheduleCommand::Delete).await?;
    Ok(Ignored::default().empty())
}
