//! Where everything is and what it can do (RFC 8414).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::pkce;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::app::registrable;

use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

const CLIENT_AUTHENTICATION: &[&str] = &["client_secret_basic", "client_secret_post", "none"];

/// The authorization server, described.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    scopes_supported: Vec<&'static str>,
    response_types_supported: &'static [&'static str],
    response_modes_supported: &'static [&'static str],
    grant_types_supported: &'static [&'static str],
    code_challenge_methods_supported: &'static [&'static str],
    token_endpoint_auth_methods_supported: &'static [&'static str],
    revocation_endpoint_auth_methods_supported: &'static [&'static str],
    introspection_endpoint_auth_methods_supported: &'static [&'static str],
    /// RFC 9207: every authorization response says who it is from.
    authorization_response_iss_parameter_supported: bool,
}

/// What OAuth clients need to know of this server.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    tag = "oauth",
    responses(
        (status = 200, description = "The description", body = Metadata),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn metadata(Issuer(issuer): Issuer) -> axum::Json<Metadata> {
    let at = |path: &str| format!("{issuer}{path}");
    axum::Json(Metadata {
        authorization_endpoint: at("/oauth/authorize"),
        token_endpoint: at("/oauth/token"),
        revocation_endpoint: at("/oauth/revoke"),
        introspection_endpoint: at("/oauth/introspect"),
        scopes_supported: registrable().iter().map(Scope::as_str).collect(),
        response_types_supported: &["code"],
        response_modes_supported: &["query"],
        grant_types_supported: &["authorization_code", "client_credentials", "refresh_token"],
        code_challenge_methods_supported: &[pkce::METHOD],
        token_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        revocation_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        // A client without a secret is told nothing.
        introspection_endpoint_auth_methods_supported: &CLIENT_AUTHENTICATION[..2],
        authorization_response_iss_parameter_supported: true,
        issuer: issuer.to_string(),
    })
}

/// Who issues tokens here: the public address that is configured. Never what a client calls us: a forged `Host` would then decide what
/// other clients are told to send their secrets to.
#[derive(Debug, Clone)]
pub(crate) struct Issuer(pub(super) Arc<str>);

impl FromRequestParts<AppState> for Issuer {
    type Rejection = ApiError;

    async fn from_request_parts(_parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        state.issuer.clone().map(Self).ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "oauth_not_configured",
                "There is no OAuth on this server until its operator sets auth.public_url",
            )
        })
    }
}
