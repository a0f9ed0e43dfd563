//! `POST /api/v1/schedules/{id}/pause` and `/resume`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::OptionalBody;
use waybill_api_jobs::rest::Nothing;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::event::Boundary;
use waybill_domain::schedule::{Schedule, ScheduleCommand};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite, Need};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::request::RequestContext;

use super::object::JobsSchedule;
use super::{Found, find, trigger};

/// Pause a schedule: it makes no job until it is resumed.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/pause",
    operation_id = "jobs.schedule.pause",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It is paused", body = JobsSchedule),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn pause_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &id)?;
    let paused = pause(&state, &caller, &found).await?;
    let read = JobsSchedule::read_one(&state, &caller, &paused).await?;
    Ok(ignored.answer(StatusCode::OK, read))
}

/// Resume a paused schedule. If it was due in the pause, it runs once at once.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/resume",
    operation_id = "jobs.schedule.resume",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It is due again", body = JobsSchedule),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn resume_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &id)?;
    let resumed = resume(&state, &caller, &context, &found).await?;
    let read = JobsSchedule::read_one(&state, &caller, &resumed).await?;
    Ok(ignored.answer(StatusCode::OK, read))
}

/// Pauses a schedule, unless it is paused.
pub(super) async fn pause<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    found: &Found,
) -> Result<Found, ApiError> {
    let command = ScheduleCommand::Pause {
        reason: None,
        until: None,
    };
    // Said of a paused one it would end a pause for a reason, and begin another.
    let is_paused = found.schedule.paused(entropy::now()).is_some();
    if is_paused {
        return Ok(found.clone());
    }
    run(state, caller, found, command).await
}

/// Resumes a schedule.
pub(super) async fn resume<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    context: &RequestContext,
    found: &Found,
) -> Result<Found, ApiError> {
    let now = entropy::now();
    if let Some(pause) = found.schedule.paused(now) {
        let since = pause.interval.from;
        let first = found.schedule.next_due(Timestamp(since.0 - 1));
        if first.is_some_and(|first| first <= now) {
            // Before the schedule is resumed, and named after the pause: whoever repeats the request after a failure makes no second run.
            let request = format!("resumed {}", since.0);
            trigger::run(state, caller, context, found, &request).await?;
        }
    }
    run(state, caller, found, ScheduleCommand::Resume).await
}

/// Decides it, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the same may have been
/// answered 503.
pub(super) async fn run<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    found: &Found,
    command: ScheduleCommand,
) -> Result<Found, ApiError> {
    let boundary = Boundary::Schedule(found.current.schedule.clone());
    let by = caller.by();
    let run = state.control.run::<Schedule>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle_everywhere(after.version).await?;
    Ok(Found {
        schedule: Arc::new(after.state),
        ..found.clone()
    })
}
