//! Revoking a key. Once it is answered, no gateway accepts the key.

use axum::extract::{Path, State};
use waybill_domain::id::KeyId;

use super::object::ApiKeyEnvelope;
use crate::auth::Caller;
use crate::auth::needs::KeysWrite;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// Revoke an API key. A second time changes nothing and answers the same.
#[utoipa::path(
    post,
    path = "/apikeys/{keyId}/revoke",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "No gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "Another team's key, or the caller may not do this", body = ErrorBody),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known to be revoked everywhere: repeat it; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn revoke_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    Path(key): Path<String>,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    revoke(&state, &caller, &key).await
}

/// Revoke an API key of the caller's own team. A second time changes nothing and answers the same.
#[utoipa::path(
    delete,
    path = "/v1/api-keys/{keyId}",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "No gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "Another team's key, or the caller may not do this", body = ErrorBody),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known to be revoked everywhere: repeat it; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn delete_api_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    Path(key): Path<String>,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    revoke(&state, &caller, &key).await
}

async fn revoke(
    state: &AppState,
    caller: &Caller<KeysWrite>,
    key: &str,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    let key = KeyId::parse(key).map_err(|_| ApiError::no_such_key())?;
    let revoked = state
        .control
        .revoke_key(&caller.team.base(), &key, &caller.by())
        .await?;
    state.settle_everywhere(revoked.seq).await?;
    Ok(axum::Json(ApiKeyEnvelope::new(&revoked.key)))
}
