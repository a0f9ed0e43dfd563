//! `GET /v1/schedules/{id}`: one schedule.

use axum::extract::State;
use waybill_api_tasks::TasksApi;
use waybill_domain::id::ScheduleId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use crate::find;
use crate::object::ScheduleEnvelope;
use crate::set::answer;
use crate::tag::Tagged;

/// Read a schedule.
#[utoipa::path(
    get,
    path = "/v1/schedules/{id}",
    operation_id = "schedules.schedule.get",
    tag = "schedules",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    responses(
        (status = 200, description = "The schedule", body = ScheduleEnvelope),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
    )
)]
pub(crate) async fn get_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<ScheduleId>,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    let (schedule, _) = find(&state, &caller.team, &id)?;
    answer(&schedule, Vec::new())
}
