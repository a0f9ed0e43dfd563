//! The public keys of access tokens.

use axum::extract::State;
use http::header::CACHE_CONTROL;

use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_identity::jwt::JwkSet;

/// Keys rotate every 30 days and are published one epoch ahead.
const CACHING: &str = "public, max-age=300";

/// The public keys of access tokens (RFC 7517). A valid signature does not mean that the session is still valid.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "auth.signing_keys.list",
    tag = "people",
    responses((status = 200, description = "The last key, the present one and the next", body = JwkSet))
)]
pub(crate) async fn jwks(
    State(state): State<AccountApi>,
) -> ([(http::HeaderName, &'static str); 1], axum::Json<JwkSet>) {
    let keys = state.people.tokens.jwks(entropy::now());
    ([(CACHE_CONTROL, CACHING)], axum::Json(keys))
}
