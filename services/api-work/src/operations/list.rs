//! `GET /v1/operations`: the operations of the team.

use axum::extract::State;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;
use waybill_edge::operation::OperationList;

/// List the operations, newest first: all that are not over, and the last 100 that are.
#[utoipa::path(
    get,
    path = "/v1/operations",
    operation_id = "tasks.operation.list",
    tag = "operations",
    security(("api_key" = ["tasks:read"])),
    responses(
        (status = 200, description = "The operations", body = OperationList),
    )
)]
pub(crate) async fn list_operations(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
) -> Result<axum::Json<OperationList>, ApiError> {
    let known = state.auth.directory().operations_of(&caller.team);
    Ok(axum::Json(OperationList::of(&known)))
}
