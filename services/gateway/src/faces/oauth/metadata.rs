//! Where everything is and what it can do (RFC 8414).

use axum::extract::State;
use http::HeaderMap;
use http::header::HOST;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::pkce;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::app::registrable;

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
    responses((status = 200, description = "The description", body = Metadata))
)]
pub(crate) async fn metadata(
    State(state): State<AppState>,
    headers: HeaderMap,
) -> axum::Json<Metadata> {
    let issuer = issuer(&state, &headers);
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
        issuer,
    })
}

/// Who issues tokens here: the public address; where none is configured, what the client calls us.
pub(super) fn issuer(state: &AppState, headers: &HeaderMap) -> String {
    if let Some(url) = &state.config.people.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let plain = |host: &&str| {
        host.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(plain).unwrap_or("localhost");
    format!("http://{host}")
}
