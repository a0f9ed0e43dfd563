//! Giving a key a successor that may do exactly the same.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::id::KeyId;

use super::object::{ApiKeyEnvelope, shown_once};
use crate::auth::Caller;
use crate::auth::needs::KeysWrite;
use crate::body::OptionalJson;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

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
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    request_body = RotateKey,
    responses(
        (status = 201, description = "The successor, accepted from now on", body = ApiKeyEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "Another team's key, or the caller may not do this", body = ErrorBody),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 409, description = "The key is expired, revoked or rotated already", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn rotate_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    Path(key): Path<String>,
    OptionalJson(request): OptionalJson<RotateKey>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let key = KeyId::parse(&key).map_err(|_| ApiError::no_such_key())?;
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
