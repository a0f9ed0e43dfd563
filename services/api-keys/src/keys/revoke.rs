//! Revoking a key. Once it is answered, no gateway accepts the key.

use axum::extract::State;
use waybill_domain::id::KeyId;

use super::object::ApiKeyEnvelope;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// Revoke an API key. Repeating it changes nothing and gets the same answer.
#[utoipa::path(
    post,
    path = "/apikeys/{keyId}/revoke",
    operation_id = "keys.key.revoke",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "Revoked; no gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn revoke_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Id(key): Id<KeyId>,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    revoke(&state, &caller, key).await
}

/// Revoke an API key of the caller's own team. Repeating it changes nothing and gets the same answer.
#[utoipa::path(
    delete,
    path = "/v1/api-keys/{keyId}",
    operation_id = "keys.api_key.delete",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "Revoked; no gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn delete_api_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Id(key): Id<KeyId>,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    revoke(&state, &caller, key).await
}

async fn revoke(
    state: &Edge,
    caller: &Caller<KeysWrite>,
    key: KeyId,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    let revoked = state
        .control
        .revoke_key(&caller.team.base(), &key, &caller.by())
        .await?;
    state.settle_everywhere(revoked.seq).await?;
    Ok(axum::Json(ApiKeyEnvelope::new(&revoked.key)))
}
