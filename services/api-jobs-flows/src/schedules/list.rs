//! `GET /api/v1/schedules`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_api_jobs::body::Ignored;
use waybill_api_jobs::{permission, rules};
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::ApiError;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;

use super::Found;
use super::object::JobsSchedule;

/// Most schedules on a page, and those of a request that does not say how many.
const MAX_LIMIT: i64 = 100;

/// Which schedules, and which page of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsScheduleListParams {
    /// Only those that make jobs in this queue.
    pub queue_name: Option<String>,
    /// Only those that are not paused, or that are.
    pub is_active: Option<bool>,
    /// 1 to 100; 100 without it. What is out of range counts as the nearest.
    pub limit: Option<i64>,
    /// Schedules to skip.
    pub offset: Option<i64>,
}

impl HasLists for JobsScheduleListParams {}

/// List schedules, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schedules",
    operation_id = "jobs.schedule.list",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(JobsScheduleListParams),
    responses((status = 200, description = "A page of schedules that this API made", body = Vec<JobsSchedule>))
)]
pub(crate) async fn list_schedules(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsScheduleListParams>,
) -> Result<Response, ApiError> {
    let queue = params.queue_name.as_deref();
    let queue = queue.filter(|name| !name.is_empty());
    let queue = queue.map(|name| rules::queue("queue_name", name));
    let queue = queue.transpose()?;
    if let Some(queue) = &queue {
        permission::named(&caller, queue)?;
    }
    let limit = params.limit.unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT);
    let offset = params.offset.unwrap_or(0).max(0);
    let now = entropy::now();
    let all = state.auth.directory().schedules_of(&caller.team);
    let shown = all
        .into_iter()
        .filter_map(|schedule| Found::shown(schedule, &caller));
    let asked_for = shown.filter(|found| {
        let is_active = found.schedule.paused(now).is_none();
        queue.as_ref().is_none_or(|queue| found.job.queue == *queue)
            && params.is_active.is_none_or(|wanted| wanted == is_active)
    });
    let page: Vec<_> = asked_for
        .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        .take(usize::try_from(limit).unwrap_or(0))
        .collect();
    let read = JobsSchedule::read(&state, &caller, &page).await?;
    Ok(Ignored::of(warnings).answer(StatusCode::OK, read))
}
