//! `GET /v1/operations/{id}`: one operation and how far it has come.

use axum::extract::State;
use waybill_domain::id::OperationId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::operation::{OperationEnvelope, find};
use waybill_edge::path::Id;

/// Read an operation: how far it has come, and which tasks refused it.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    operation_id = "tasks.operation.get",
    tag = "operations",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the operation")),
    responses(
        (status = 200, description = "The operation", body = OperationEnvelope),
        (status = 404, description = "The team has no such operation, or it was over long ago: the last 100 are kept, and the activity tells of all", body = ErrorBody),
    )
)]
pub(crate) async fn get_operation(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
    Id(id): Id<OperationId>,
) -> Result<axum::Json<OperationEnvelope>, ApiError> {
    let operation = find(&state, &caller.team, &id)?;
    OperationEnvelope::new(&operation)
        .map(axum::Json)
        .ok_or_else(|| ApiError::not_found("Operation not found"))
}
