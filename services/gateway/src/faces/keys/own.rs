//! What a holder may do with its own key, whatever else the key may do.

use axum::extract::State;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::RevocationReason;

use super::object::{ApiKeyEnvelope, ApiKeyObject};
use crate::auth::Holder;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// Read the key that the request is made with.
#[utoipa::path(
    get,
    path = "/v1/key",
    tag = "keys",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The key, without the key itself", body = ApiKeyEnvelope),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "The credential is no API key, or the plan does not include the API", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "How it was used cannot be read; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn get_own_key(
    State(state): State<AppState>,
    holder: Holder,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    if !holder.plan.api_access {
        return Err(ApiError::feature_not_allowed(&holder.plan.name));
    }
    let id = holder.key.created.key.clone();
    let used = state
        .usage
        .of_keys(&holder.team, std::slice::from_ref(&id))
        .await?;
    Ok(axum::Json(ApiKeyEnvelope {
        api_key: ApiKeyObject::new(&holder.key).used(used.get(&id)),
    }))
}

/// Revoke the key that the request is made with: for whoever finds out that it leaked.
///
/// It works on every plan. Repeating it is 401, as everything with that key is from then on.
#[utoipa::path(
    post,
    path = "/v1/key/revoke",
    tag = "keys",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "No gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "The credential is no API key", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known to be revoked everywhere: repeat it; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn revoke_own_key(
    State(state): State<AppState>,
    holder: Holder,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    let key = holder.key.created.key.clone();
    let command = TeamCommand::RevokeKey {
        key: key.clone(),
        reason: RevocationReason::ByHolder,
    };
    let revoked = state
        .control
        .change_key(&holder.team.base(), &key, command, &holder.by())
        .await?;
    state.settle_everywhere(revoked.seq).await?;
    Ok(axum::Json(ApiKeyEnvelope::new(&revoked.key)))
}
