//! `GET /api/v1/jobs/{id}/dependencies`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_jobs::body::Ignored;
use waybill_api_jobs::find as jobs;
use waybill_api_jobs::models::status::JobsStatus;
use waybill_api_tasks::TasksApi;
use waybill_api_workflows::find::find as find_flow;
use waybill_domain::flow::RunAfterMode;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_projector::query::FlowMember;

use super::object::{ids, job_status, views};

/// What a job runs after, and what runs after it.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsDependencies {
    /// A UUID.
    pub job_id: String,
    pub status: JobsStatus,
    pub dependencies: Vec<JobsDependency>,
    pub dependents: Vec<JobsDependency>,
    pub dependency_mode: RunAfterMode,
    /// Whether those that it runs after let it run.
    pub dependencies_met: bool,
}

/// A job that another one runs after, or that runs after it.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsDependency {
    /// A UUID.
    pub job_id: String,
    pub queue_name: String,
    pub status: JobsStatus,
    pub dependency_type: RunAfterMode,
}

/// Read what a job runs after, and what runs after it: jobs of its workflow.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/dependencies",
    operation_id = "jobs.job.dependencies",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    responses(
        (status = 200, description = "Its dependencies", body = JobsDependencies),
        (status = 404, description = "No such job", body = JobsErrorBody),
    )
)]
pub(crate) async fn job_dependencies(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = jobs::row(&state, &caller, &id).await?;
    let mut shown = JobsDependencies {
        job_id: found.row().job_root().uuid_text(),
        status: found.status.into(),
        dependencies: Vec::new(),
        dependents: Vec::new(),
        dependency_mode: RunAfterMode::All,
        dependencies_met: true,
    };
    let Some(member) = found.row().member.as_deref() else {
        return Ok(Ignored::default().answer(StatusCode::OK, shown));
    };
    let flow = find_flow(&state, &caller.team, &member.workflow).await?;
    let of_name = |of: &FlowMember| of.name == member.name;
    let place = flow.members.iter().position(of_name);
    let place = place.ok_or_else(|| ApiError::internal(&"a job that its workflow has not"))?;
    let views = views(&state, &caller.team, &flow).await?;
    let ids = ids(&views);
    let show = |at: usize, mode: RunAfterMode| {
        let (other, view) = (flow.members.get(at)?, views.get(at)?);
        Some(JobsDependency {
            job_id: ids.get(&u16::try_from(at).ok()?)?.clone(),
            queue_name: flow.queue.to_string(),
            status: job_status(other, view).into(),
            dependency_type: mode,
        })
    };
    let own = flow.members.get(place);
    let mode = own.map_or(RunAfterMode::All, |own| own.mode);
    let after = own.map(|own| own.after.clone()).unwrap_or_default();
    let after = after.into_iter().map(usize::from);
    shown.dependencies = after.filter_map(|at| show(at, mode)).collect();
    let followers = flow.members.iter().enumerate();
    let followers = followers.filter(|(_, of)| of.after.iter().any(|at| usize::from(*at) == place));
    shown.dependents = followers.filter_map(|(at, of)| show(at, of.mode)).collect();
    shown.dependency_mode = mode;
    shown.dependencies_met = flow.lets_run(&member.name);
    Ok(Ignored::default().answer(StatusCode::OK, shown))
}
