//! `POST /v1/schedules/{id}/pause` and `/resume`.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::Boundary;
use waybill_domain::id::ScheduleId;
use waybill_domain::schedule::{Schedule, ScheduleCommand};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use crate::find;
use crate::object::ScheduleEnvelope;
use crate::request::date;
use crate::set::answer;
use crate::tag::Tagged;

/// A pause.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PauseSchedule {
    /// Why, for people; at most 500 characters.
    #[schema(max_length = 500, example = "The receiver is being moved")]
    reason: Option<String>,
    /// When the pause ends by itself (ISO 8601). Without it, the pause lasts until it is lifted.
    #[schema(format = DateTime, example = "2030-01-31T12:00:00.000Z")]
    until: Option<String>,
}

/// Pause a schedule: no task is made of an instant after the answer.
///
/// Tasks that were made go on. When the pause is over, its instants are in the list of runs as `paused`; they are not caught up. Pausing a
/// paused schedule states the pause anew. It can be triggered all the same.
#[utoipa::path(
    post,
    path = "/v1/schedules/{id}/pause",
    operation_id = "schedules.schedule.pause",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    request_body = Option<PauseSchedule>,
    responses(
        (status = 200, description = "It is paused", body = ScheduleEnvelope),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every gateway knows of the pause; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn pause_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Id(id): Id<ScheduleId>,
    OptionalJson(request): OptionalJson<PauseSchedule>,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    let command = ScheduleCommand::Pause {
        reason: request.reason,
        until: date("until", request.until.as_deref())?,
    };
    steer(&state, &caller, id, command).await
}

/// Resume a paused schedule: it is due again, from now on.
#[utoipa::path(
    post,
    path = "/v1/schedules/{id}/resume",
    operation_id = "schedules.schedule.resume",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    responses(
        (status = 200, description = "It is due again", body = ScheduleEnvelope),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
    )
)]
pub(crate) async fn resume_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Id(id): Id<ScheduleId>,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    steer(&state, &caller, id, ScheduleCommand::Resume).await
}

/// Decides it, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the same may have been
/// answered 503.
async fn steer(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    id: ScheduleId,
    command: ScheduleCommand,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    find(state, &caller.team, &id)?;
    let boundary = Boundary::Schedule(id);
    let by = caller.by();
    let run = state.control.run::<Schedule>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle_everywhere(after.version).await?;
    answer(&after.state, Vec::new())
}
