//! `GET /api/v1/workflows/{id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::Ignored;
use waybill_api_tasks::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use super::object::JobsWorkflowDetail;

/// Read a workflow with its jobs.
#[utoipa::path(
    get,
    path = "/api/v1/workflows/{id}",
    operation_id = "jobs.workflow.get",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the workflow, a UUID")),
    responses(
        (status = 200, description = "The workflow", body = JobsWorkflowDetail),
        (status = 404, description = "No such workflow", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_workflow(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (id, flow) = find(&state, &caller, &id).await?;
    let read = JobsWorkflowDetail::read(&state, &caller.team, &id, &flow).await?;
    Ok(Ignored::default().answer(StatusCode::OK, read))
}
