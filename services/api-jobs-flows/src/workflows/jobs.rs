//! `GET /api/v1/workflows/{id}/jobs`, `/jobs/status` and `/jobs/{job_id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::Ignored;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use super::object::{JobsWorkflowJob, JobsWorkflowJobStatus, ids, job_status, views};

/// List the jobs of a workflow, those that others depend on first.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}/jobs",
    operation_id = "jobs.workflow.jobs",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the workflow, a UUID")),
    responses(
        (status = 200, description = "Its jobs", body = Vec<JobsWorkflowJob>),
        (status = 404, description = "No such workflow", body = JobsErrorBody),
    )
)]
pub(crate) async fn workflow_jobs(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (id, flow) = find(&state, &caller, &id).await?;
    let jobs = JobsWorkflowJob::read_all(&state, &caller.team, &id, &flow).await?;
    Ok(Ignored::default().answer(StatusCode::OK, jobs))
}

/// Read one job of a workflow.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}/jobs/{job_id}",
    operation_id = "jobs.workflow.job",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "Id of the workflow, a UUID"),
        ("job_id" = String, Path, description = "Id of the job, a UUID"),
    ),
    responses(
        (status = 200, description = "The job", body = JobsWorkflowJob),
        (status = 404, description = "No such workflow, or it has no such job", body = JobsErrorBody),
    )
)]
pub(crate) async fn workflow_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path((id, job)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let (id, flow) = find(&state, &caller, &id).await?;
    let jobs = JobsWorkflowJob::read_all(&state, &caller.team, &id, &flow).await?;
    let found = jobs.into_iter().find(|of| of.id.eq_ignore_ascii_case(&job));
    let found = found.ok_or_else(waybill_api_jobs::find::no_such_job)?;
    Ok(Ignored::default().answer(StatusCode::OK, found))
}

/// Read how the jobs of a workflow stand.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}/jobs/status",
    operation_id = "jobs.workflow.statuses",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the workflow, a UUID")),
    responses(
        (status = 200, description = "How each stands", body = Vec<JobsWorkflowJobStatus>),
        (status = 404, description = "No such workflow", body = JobsErrorBody),
    )
)]
pub(crate) async fn workflow_job_statuses(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (_, flow) = find(&state, &caller, &id).await?;
    let views = views(&state, &caller.team, &flow).await?;
    let ids = ids(&views);
    let shown = flow.members.iter().zip(&views).zip(0..);
    let shown: Vec<_> = shown
        .map(|((member, view), place)| JobsWorkflowJobStatus {
            key: member.name.clone(),
            job_id: ids.get(&place).cloned().unwrap_or_default(),
            status: job_status(member, view).into(),
            progress: None,
        })
        .collect();
    Ok(Ignored::default().answer(StatusCode::OK, shown))
}
