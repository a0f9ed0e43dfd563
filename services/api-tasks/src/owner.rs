//! Asking the owner of a task's partition: only it knows what runs, and only it may append.

use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;

use crate::state::TasksApi;
use waybill_edge::error::{ApiError, ErrorCode};

/// Asks until somebody answers definitely or the gateway's patience ends. Asking twice must be harmless.
pub(crate) async fn ask_owner(
    state: &TasksApi,
    id: TaskId,
    request: &OwnerRequest,
) -> Result<OwnerReply, ApiError> {
    let asked = state.owners.ask_until_answered(id.partition(), request);
    asked.await?.ok_or_else(no_owner)
}

pub(crate) fn no_owner() -> ApiError {
    ApiError::unavailable(
        ErrorCode::OwnerUnavailable,
        "The task's worker is changing; try again later",
    )
}
