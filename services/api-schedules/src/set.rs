//! `PUT /v1/schedules/{id}`: replace a schedule by its next version.

use axum::Extension;
use axum::extract::State;
use http::HeaderMap;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, limits};
use waybill_commands::{Loaded, entropy};
use waybill_domain::event::{Boundary, ScheduleSet};
use waybill_domain::id::ScheduleId;
use waybill_domain::recurring::{RunId, RunOf};
use waybill_domain::schedule::{Schedule, ScheduleCommand};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{Need, TasksWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::LenientJson;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::{Handling, Warning, Warnings};

use crate::find;
use crate::make;
use crate::object::{ScheduleEnvelope, ScheduleObject};
use crate::request::NewSchedule;
use crate::tag::{Tagged, only_if, tagged};

/// Replace a schedule.
///
/// Instants before the answer belong to the version before, those after it to the new one. A pause stays. A request that says what the
/// schedule says changes nothing. With `If-Match`, it is replaced only if its `ETag` is still that one; else 412, and nothing is changed.
#[utoipa::path(
    put,
    path = "/v1/schedules/{id}",
    operation_id = "schedules.schedule.set",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(
        ("id" = String, Path, description = "Id of the schedule"),
        ("If-Match" = Option<String>, Header, description = "`ETag` of the schedule as it was read"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
    ),
    request_body = NewSchedule,
    responses(
        (status = 200, description = "It is replaced", body = ScheduleEnvelope),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
        (status = 409, description = "It was replaced 16 times within an hour", body = ErrorBody),
        (status = 412, description = "The schedule has another version than `If-Match` names", body = ErrorBody),
    )
)]
pub(crate) async fn set_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Id(id): Id<ScheduleId>,
    LenientJson(request, unknown): LenientJson<NewSchedule>,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    caller.needs_api()?;
    find(&state, &caller.team, &id)?;
    let draft = request.draft(id, &caller.team)?;
    let handling = Handling::of(&headers);
    let warnings = check(&state, &caller, &context, &draft, unknown, handling)?;
    let after = store(&state, &caller, draft, only_if(&headers)).await?;
    answer(&after.state, warnings)
}

/// Checks the task of a schedule as if it were due now.
pub fn check<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    context: &RequestContext,
    draft: &ScheduleSet,
    unknown: Warnings,
    handling: Handling,
) -> Result<Vec<Warning>, ApiError> {
    let (_, zone) = draft.times()?;
    let accepting = Accepting::new(state, caller, context);
    let now = entropy::now();
    let run = RunOf {
        schedule: draft.schedule.clone(),
        version: draft.version,
        run: RunId::due(&draft.schedule, draft.version, now),
        due: now,
        manual: false,
    };
    let limits = limits(state, caller);
    let (_, within) = make::check(&accepting, &limits, draft, &zone, run)?;
    unknown.and(within).judge(handling)
}

/// Stores a version; it counts on every gateway with the answer.
pub async fn store<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    draft: ScheduleSet,
    only_if: Option<u32>,
) -> Result<Loaded<Schedule>, ApiError> {
    let boundary = Boundary::Schedule(draft.schedule.clone());
    let command = ScheduleCommand::Set {
        draft: Box::new(draft),
        only_if,
    };
    let by = caller.by();
    let run = state.control.run::<Schedule>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle(after.version).await?;
    Ok(after)
}

pub(crate) fn answer(
    schedule: &Schedule,
    warnings: Vec<Warning>,
) -> Result<Tagged<ScheduleEnvelope>, ApiError> {
    let current = schedule.current();
    let current = current.ok_or_else(|| ApiError::not_found("Schedule not found"))?;
    let object = ScheduleObject::new(schedule, current, entropy::now());
    let envelope = ScheduleEnvelope {
        schedule: object,
        warnings,
    };
    Ok(tagged(current.version, envelope))
}
