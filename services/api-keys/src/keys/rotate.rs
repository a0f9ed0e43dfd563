//! Giving a key a successor that may do exactly the same.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::id::KeyId;

use super::object::{ApiKeyEnvelope, shown_once};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// A day: for whoever rolls a new key out by hand.
const DEFAULT_OVERLAP_SECONDS: u64 = 86_400;

/// How a key shall be rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateKey {
    /// For how long the old key is accepted beside the new one: 0 to 604800 (7 days). Default: 86400, a day.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}

/// Rotate an API key. The new key is in this one answer only.
///
/// It has the scopes, environment, expiry and networks of the old one, and nothing of it can be chosen.
#[utoipa::path(
    post,
    path = "/apikeys/{keyId}/rotate",
    operation_id = "keys.key.rotate",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    request_body = RotateKey,
    responses(
        (status = 201, description = "The successor, accepted from now on", body = ApiKeyEnvelope),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 409, description = "The key is expired, revoked or rotated already", body = ErrorBody),
    )
)]
pub(crate) async fn rotate_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Id(key): Id<KeyId>,
    OptionalJson(request): OptionalJson<RotateKey>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let overlap = request.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS);
    let (made, _) = state
        .control
        .rotate_key(
            &caller.team.base(),
            &key,
            Duration::from_secs(overlap),
            &caller.by(),
        )
        .await?;
    // The old key ends by the clock, which every gateway has; but one that does not know of the rotation would accept it for ever.
    state.settle_everywhere(made.seq).await?;
    shown_once(&state, &made).await
}
