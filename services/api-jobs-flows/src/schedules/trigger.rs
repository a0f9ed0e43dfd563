//! `POST /api/v1/schedules/{id}/trigger`: a job now.

use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_jobs::body::OptionalBody;
use waybill_api_jobs::rest::Nothing;
use waybill_api_jobs::rest::jobs::create::store;
use waybill_api_schedules::make;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, count_accepted, limits};
use waybill_commands::entropy;
use waybill_domain::id::TaskId;
use waybill_domain::recurring::{RunId, RunOf};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite, Need};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::request::RequestContext;

use super::{Found, find};

/// A run that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsTriggered {
    /// A UUID.
    pub job_id: String,
    #[schema(value_type = String, format = DateTime)]
    pub triggered_at: Iso,
    /// The same as `triggered_at`.
    #[schema(value_type = String, format = DateTime)]
    pub scheduled_at: Iso,
}

/// Make a job of a schedule now, also while it is paused.
#[utoipa::path(
    post,
    path = "/api/v1/schedules/{id}/trigger",
    operation_id = "jobs.schedule.trigger",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the schedule")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "The job is on disk", body = JobsTriggered),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn trigger_schedule(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let found = find(&state, &caller, &id)?;
    let request = format!("{:x}", entropy::random_u128());
    let at = entropy::now();
    let job = run(&state, &caller, &context, &found, &request).await?;
    let triggered = JobsTriggered {
        job_id: job.uuid_text(),
        triggered_at: Iso(at),
        scheduled_at: Iso(at),
    };
    Ok(ignored.answer(StatusCode::OK, triggered))
}

/// Makes the job of a run that somebody asked for; `request` tells such requests apart.
pub(super) async fn run<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    context: &RequestContext,
    found: &Found,
    request: &str,
) -> Result<TaskId, ApiError> {
    let start = Instant::now();
    let set = &found.current;
    let (_, zone) = set.times()?;
    let run = RunOf {
        run: RunId::manual(&set.schedule, request),
        schedule: set.schedule.clone(),
        version: set.version,
        due: entropy::now(),
        manual: true,
    };
    let key = run.run.key();
    let accepting = Accepting::new(state, caller, context);
    let (mut checked, _) = make::check(&accepting, &limits(state, caller), set, &zone, run)?;
    // Whoever has the key asks for the same, also when the schedule was set anew meanwhile.
    checked.as_given = Some(key.clone());
    let (id, is_new) = store(state, caller, &accepting, checked, Some(key)).await?;
    if is_new {
        count_accepted(1, start);
    }
    Ok(id)
}
