//! The metadata of the authorization server (RFC 8414).

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::pkce;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::app::registrable;

use super::device;
use crate::state::AccountApi;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};

const CLIENT_AUTHENTICATION: &[&str] = &["client_secret_basic", "client_secret_post", "none"];

/// The authorization server, described.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Metadata {
    #[schema(format = "uri")]
    issuer: String,
    #[schema(format = "uri")]
    authorization_endpoint: String,
    #[schema(format = "uri")]
    token_endpoint: String,
    #[schema(format = "uri")]
    device_authorization_endpoint: String,
    #[schema(format = "uri")]
    revocation_endpoint: String,
    #[schema(format = "uri")]
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
    operation_id = "oauth.metadata.get",
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
        device_authorization_endpoint: at("/oauth/device_authorization"),
        revocation_endpoint: at("/oauth/revoke"),
        introspection_endpoint: at("/oauth/introspect"),
        scopes_supported: registrable().iter().map(Scope::as_str).collect(),
        response_types_supported: &["code"],
        response_modes_supported: &["query"],
        grant_types_supported: &[
            "authorization_code",
            "client_credentials",
            "refresh_token",
            device::GRANT_TYPE,
        ],
        code_challenge_methods_supported: &[pkce::METHOD],
        token_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        revocation_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
        // A client without a secret may not introspect.
        introspection_endpoint_auth_methods_supported: &CLIENT_AUTHENTICATION[..2],
        authorization_response_iss_parameter_supported: true,
        issuer: issuer.to_string(),
    })
}

/// The issuer of tokens: the configured public address. Never the address that a client used: a forged `Host` would then decide where
/// other clients send their secrets.
#[derive(Debug, Clone)]
pub(crate) struct Issuer(pub(super) Arc<str>);

impl FromRequestParts<AccountApi> for Issuer {
    type Rejection = ApiError;

    async fn from_request_parts(_parts: &mut Parts, state: &AccountApi) -> Result<Self, ApiError> {
        state.issuer.clone().map(Self).ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                ErrorCode::OauthNotConfigured,
                "There is no OAuth on this server until its operator sets auth.public_url",
            )
        })
    }
}
