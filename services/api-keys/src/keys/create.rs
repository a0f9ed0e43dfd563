//! Creating a key. The key itself is in this one answer and is never shown again.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::scope::Api;

use super::object::{ApiKeyEnvelope, shown_once};
use super::request::{CreateKey, repeatable};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::idempotency;
use waybill_edge::limits::Guarded;

/// Create an API key. The key is in this one answer only.
///
/// With an `Idempotency-Key`, a repetition makes no second key: it is answered by 409 `secret_already_shown` with the `keyId` of the first.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/apikeys",
    operation_id = "keys.key.create",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the default of `environment`"),
    ),
    request_body = CreateKey,
    responses(
        (status = 201, description = "Created, and accepted from now on", body = ApiKeyEnvelope),
        (status = 409, description = "Created before, with the same Idempotency-Key", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key was used with another request", body = ErrorBody),
    )
)]
pub(crate) async fn create_key(
    State(state): State<Edge>,
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
    operation_id = "keys.api_key.create",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable characters"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the default of `environment`"),
    ),
    request_body = CreateKey,
    responses(
        (status = 201, description = "Created, and accepted from now on", body = ApiKeyEnvelope),
        (status = 409, description = "Created before, with the same Idempotency-Key", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key was used with another request", body = ErrorBody),
    )
)]
pub(crate) async fn create_api_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    headers: HeaderMap,
    Json(request): Json<CreateKey>,
) -> Result<Response, ApiError> {
    create(&state, &caller, &headers, request).await
}

async fn create(
    state: &Edge,
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
