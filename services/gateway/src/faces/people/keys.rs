//! The public keys of access tokens.

use axum::extract::State;
use http::header::CACHE_CONTROL;

use crate::entropy;
use crate::people::jwt::JwkSet;
use crate::state::AppState;

/// Keys rotate every 30 days and are published one epoch ahead.
const CACHING: &str = "public, max-age=300";

/// The public keys of access tokens (RFC 7517). That a signature is right says nothing about whether its session still counts.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "people",
    responses((status = 200, description = "The last key, the present one and the next", body = JwkSet))
)]
pub(crate) async fn jwks(
    State(state): State<AppState>,
) -> ([(http::HeaderName, &'static str); 1], axum::Json<JwkSet>) {
    let keys = state.people.tokens.jwks(entropy::now());
    ([(CACHE_CONTROL, CACHING)], axum::Json(keys))
}
