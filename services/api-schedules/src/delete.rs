//! `DELETE /v1/schedules/{id}`: never due again.

use axum::extract::State;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::Boundary;
use waybill_domain::id::ScheduleId;
use waybill_domain::schedule::{Schedule, ScheduleCommand};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use crate::find;

/// Delete a schedule. Tasks that it made go on.
#[utoipa::path(
    delete,
    path = "/v1/schedules/{id}",
    operation_id = "schedules.schedule.delete",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    responses(
        (status = 204, description = "It makes no further task"),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every gateway knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn delete_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Id(id): Id<ScheduleId>,
) -> Result<StatusCode, ApiError> {
    find(&state, &caller.team, &id)?;
    let boundary = Boundary::Schedule(id);
    let (command, by) = (ScheduleCommand::Delete, caller.by());
    let run = state.control.run::<Schedule>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle_everywhere(after.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
