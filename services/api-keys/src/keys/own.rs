//! What a holder may do with its own key, whatever else the key may do.

use axum::extract::State;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::RevocationReason;

use super::object::{ApiKeyEnvelope, ApiKeyObject};
use waybill_edge::Edge;
use waybill_edge::auth::Holder;
use waybill_edge::error::{ApiError, ErrorBody};

/// Read the key that the request is made with.
#[utoipa::path(
    get,
    path = "/v1/key",
    operation_id = "keys.own_key.get",
    tag = "keys",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "The key, without the key itself", body = ApiKeyEnvelope),
        (status = 403, description = "The credential is not an API key, or the plan does not include the API", body = ErrorBody),
    )
)]
pub(crate) async fn get_own_key(
    State(state): State<Edge>,
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
    operation_id = "keys.own_key.revoke",
    tag = "keys",
    security(("api_key" = [])),
    responses(
        (status = 200, description = "Revoked; no gateway accepts it any more", body = ApiKeyEnvelope),
        (status = 403, description = "The credential is not an API key", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn revoke_own_key(
    State(state): State<Edge>,
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
