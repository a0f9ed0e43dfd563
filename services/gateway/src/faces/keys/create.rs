//! Making a key. It is in this one answer, and nowhere afterwards.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::scope::Api;

use super::object::{ApiKeyEnvelope, shown_once};
use super::request::{CreateKey, repeatable};
use crate::auth::Caller;
use crate::auth::needs::KeysWrite;
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::faces::tasks::idempotency;
use crate::limits::Guarded;
use crate::state::AppState;

/// Create an API key. The key is in this one answer only.
///
/// With an `Idempotency-Key`, a repetition makes no second key: it is answered by 409 `secret_already_shown` with the `keyId` of the first.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/apikeys",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters"),
        ("X-Environment" = Option<String>, Header, description = "For people: the environment that `environment` defaults to"),
    ),
    request_body = CreateKey,
    responses(
        (status = 201, description = "Made, and accepted from now on", body = ApiKeyEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "Another team, the caller may not do this, or the plan has no room", body = ErrorBody),
        (status = 409, description = "Made before, by the same Idempotency-Key", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key was used with another request", body = ErrorBody),
        (status = 429, description = "Too many keys or requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn create_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    headers: HeaderMap,
    Json(request): Json<CreateKey>,
) -> Result<Response, ApiError> {
    create(&state, &caller, &headers, request).await
}

/// Create an API key of the caller's own team. The key is in this one answer only.
#[utoipa::path(
    post,
    path = "/v1/api-keys",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters"),
        ("X-Team-Id" = Option<String>, Header, description = "For people of several teams: which one"),
        ("X-Environment" = Option<String>, Header, description = "For people: the environment that `environment` defaults to"),
    ),
    request_body = CreateKey,
    responses(
        (status = 201, description = "Made, and accepted from now on", body = ApiKeyEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "No or no valid credential", body = ErrorBody),
        (status = 403, description = "The caller may not do this, or the plan has no room", body = ErrorBody),
        (status = 409, description = "Made before, by the same Idempotency-Key", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key was used with another request", body = ErrorBody),
        (status = 429, description = "Too many keys or requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn create_api_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    headers: HeaderMap,
    Json(request): Json<CreateKey>,
) -> Result<Response, ApiError> {
    create(&state, &caller, &headers, request).await
}

async fn create(
    state: &AppState,
    caller: &Caller<KeysWrite>,
    headers: &HeaderMap,
    request: CreateKey,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let idempotency_key = idempotency::key(headers)?;
    // Other keys of a team whose plan lacks an API may hold its scopes: they are refused where it is called.
    if request.names(Api::Waitlists) && !caller.plan.has(Api::Waitlists) {
        return Err(ApiError::feature_not_allowed(&caller.plan.name));
    }
    let brands = state.config.minted_brands();
    let mut wish = request.wish(caller.scopes, &caller.team, brands)?;
    wish.request = idempotency_key.map(|key| repeatable(&key, &caller.team, &wish));
    let context = caller.context();
    let team = caller.team.base();
    let who = Guarded {
        source: Some(context.source),
        account: None,
        team: Some(&team),
    };
    let guarded = state
        .limiter
        .guard(&context.limits, Guard::KeyCreation, &who);
    guarded.await?;
    let made = state.control.make_key(&team, wish, &caller.by()).await?;
    shown_once(state, &made).await
}
