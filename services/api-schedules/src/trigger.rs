//! `POST /v1/schedules/{id}/trigger`: a run now.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, limits};
use waybill_api_tasks::create::answer;
use waybill_api_tasks::idempotency;
use waybill_api_tasks::object::TaskEnvelope;
use waybill_commands::entropy;
use waybill_domain::id::ScheduleId;
use waybill_domain::recurring::{RunId, RunOf};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;

use crate::find;
use crate::make;

/// Run a schedule now, also while it is paused.
///
/// The run is in the list like every other, with `manual`, and `overlap` holds for it too. Each request makes one, unless it repeats one with the same
/// `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/schedules/{id}/trigger",
    operation_id = "schedules.schedule.trigger",
    tag = "schedules",
    security(("api_key" = ["tasks:write"])),
    params(
        ("id" = String, Path, description = "Id of the schedule"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
    ),
    responses(
        (status = 201, description = "The task of the run is on disk", body = TaskEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 404, description = "The team has no such schedule", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`); see `code` and `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn trigger_schedule(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Id(id): Id<ScheduleId>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let (_, current) = find(&state, &caller.team, &id)?;
    let request = match request_key(&headers)? {
        Some(key) => key,
        None => format!("{:x}", entropy::random_u128()),
    };
    let (_, zone) = current.times()?;
    let run = RunOf {
        run: RunId::manual(&id, &request),
        schedule: id,
        version: current.version,
        due: entropy::now(),
        manual: true,
    };
    let key = run.run.key();
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let (mut checked, _) = make::check(&accepting, &limits, &current, &zone, run)?;
    // The key is a hash of the schedule and the client's key, so whoever has it asks for the same. The text of the task may name the time of
    // the run, and the schedule may have been set anew: it differs then.
    checked.as_given = Some(key.clone());
    let outcome = idempotency::create(&accepting, checked, key).await?;
    let (task, replayed) = outcome.into_parts();
    Ok(answer(TaskEnvelope::new(task, Vec::new()), replayed))
}
