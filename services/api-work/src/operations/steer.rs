//! `POST /v1/operations/{id}/pause`, `/resume` and `/cancel`.

use axum::extract::State;
use waybill_domain::event::Boundary;
use waybill_domain::id::OperationId;
use waybill_domain::operation::{Operation, OperationCommand};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::operation::{OperationEnvelope, find};
use waybill_edge::path::Id;

/// Pause an operation. It takes no further task, but for the ones at hand: those of a second at most.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/pause",
    operation_id = "tasks.operation.pause",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the operation")),
    responses(
        (status = 200, description = "It is paused", body = OperationEnvelope),
        (status = 404, description = "The team has no such operation", body = ErrorBody),
        (status = 409, description = "It is over", body = ErrorBody),
    )
)]
pub(crate) async fn pause_operation(
    State(state): State<Edge>,
    caller: Caller<TasksWrite>,
    Id(id): Id<OperationId>,
) -> Result<axum::Json<OperationEnvelope>, ApiError> {
    steer(&state, &caller, id, OperationCommand::Pause).await
}

/// Resume a paused operation. It goes on where it stopped.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/resume",
    operation_id = "tasks.operation.resume",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the operation")),
    responses(
        (status = 200, description = "It goes on", body = OperationEnvelope),
        (status = 404, description = "The team has no such operation", body = ErrorBody),
        (status = 409, description = "It is over", body = ErrorBody),
    )
)]
pub(crate) async fn resume_operation(
    State(state): State<Edge>,
    caller: Caller<TasksWrite>,
    Id(id): Id<OperationId>,
) -> Result<axum::Json<OperationEnvelope>, ApiError> {
    steer(&state, &caller, id, OperationCommand::Resume).await
}

/// Cancel an operation. It takes no further task, but for the ones at hand; what it has done stays done.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/cancel",
    operation_id = "tasks.operation.cancel",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the operation")),
    responses(
        (status = 200, description = "It is cancelled", body = OperationEnvelope),
        (status = 404, description = "The team has no such operation", body = ErrorBody),
        (status = 409, description = "It is completed", body = ErrorBody),
    )
)]
pub(crate) async fn cancel_operation(
    State(state): State<Edge>,
    caller: Caller<TasksWrite>,
    Id(id): Id<OperationId>,
) -> Result<axum::Json<OperationEnvelope>, ApiError> {
    steer(&state, &caller, id, OperationCommand::Cancel).await
}

async fn steer(
    state: &Edge,
    caller: &Caller<TasksWrite>,
    id: OperationId,
    command: OperationCommand,
) -> Result<axum::Json<OperationEnvelope>, ApiError> {
    find(state, &caller.team, &id)?;
    let boundary = Boundary::Operation(id);
    let by = caller.by();
    let run = state.control.run::<Operation>(&boundary, command, &(), &by);
    let after = run.await?;
    state.settle(after.version).await?;
    OperationEnvelope::new(&after.state)
        .map(axum::Json)
        .ok_or_else(|| ApiError::not_found("Operation not found"))
}
