//! `DELETE /api/v1/api-keys/{id}`: once it is answered, no gateway accepts the key.

use axum::extract::{Path, State};
use http::StatusCode;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;

/// Revoke a key.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{id}",
    operation_id = "jobs.api_key.delete",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the key")),
    responses(
        (status = 204, description = "Revoked; no gateway accepts it any more"),
        (status = 404, description = "No such key, or it was revoked", body = JobsErrorBody),
    )
)]
pub(crate) async fn delete_api_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id = find(&state, &caller.team, &id)?;
    let team = caller.team.base();
    let revoked = state.control.revoke_key(&team, &id, &caller.by()).await?;
    state.settle_everywhere(revoked.seq).await?;
    Ok(StatusCode::NO_CONTENT)
}
