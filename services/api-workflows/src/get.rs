//! `GET /v1/workflows/{id}`: one workflow, with how far each of its tasks has come.

use axum::extract::State;
use waybill_api_tasks::TasksApi;
use waybill_domain::id::WorkflowId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use crate::find::find;
use crate::object::{WorkflowEnvelope, WorkflowObject};

/// Read a workflow: how far it and each of its tasks have come.
///
/// It is kept as its tasks are.
#[utoipa::path(
    get,
    path = "/v1/workflows/{id}",
    operation_id = "workflows.workflow.get",
    tag = "workflows",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the workflow")),
    responses(
        (status = 200, description = "The workflow", body = WorkflowEnvelope),
        (status = 404, description = "The team has no such workflow in this environment", body = ErrorBody),
    )
)]
pub(crate) async fn get_workflow(
    State(state): State<TasksApi>,
    caller: Caller<TasksRead>,
    Id(id): Id<WorkflowId>,
) -> Result<axum::Json<WorkflowEnvelope>, ApiError> {
    let flow = find(&state, &caller.team, &id).await?;
    Ok(axum::Json(WorkflowEnvelope {
        workflow: WorkflowObject::of(&id, &caller.team, flow),
        warnings: Vec::new(),
    }))
}
