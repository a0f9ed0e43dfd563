//! Introspection of tokens (RFC 7662), for the client that holds them.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::token::TokenKind;
use waybill_domain::id::{AppId, Environment, GrantId, TeamId, UserId};
use waybill_domain::time::Timestamp;

use super::client::Client;
use super::error::{OAuthError, OAuthErrorBody, uncached};
use super::metadata::Issuer;
use super::parameters::Form;
use super::write_scopes;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::auth;
use waybill_edge::error::ErrorBody;
use waybill_edge::request::RequestContext;

/// A token to be inspected or revoked.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by name")]
pub(crate) struct PresentedToken {
    /// An access or refresh token.
    token: String,
    /// Not needed: the kind can be seen from the token.
    token_type_hint: Option<String>,
    /// The client, unless it authenticates by `Authorization: Basic`.
    client_id: Option<String>,
    /// Its secret, if it does not authenticate by `Authorization: Basic`.
    client_secret: Option<String>,
}

/// The state of a token. Only `{"active": false}` when it is invalid or another client's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Introspection {
    /// Whether it is accepted now.
    active: bool,
    #[serde(flatten)]
    details: Option<Details>,
}

/// The details of a valid token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Details {
    /// What it may do now.
    scope: String,
    client_id: String,
    /// Who consented; the client itself, if nobody had to.
    sub: String,
    /// The team that it acts in.
    team_id: String,
    /// `live` or `test`.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// `Bearer`; absent for refresh tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    /// Expiry, in seconds since 1970.
    exp: i64,
    /// When the grant was given, in seconds since 1970.
    iat: i64,
    iss: String,
}

/// Inspect a token. Only the client that it was issued to gets its details.
#[utoipa::path(
    post,
    path = "/oauth/introspect",
    operation_id = "oauth.token.introspect",
    tag = "oauth",
    security((), ("client" = [])),
    request_body(content = PresentedToken, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The state of the token", body = Introspection),
        (status = 400, description = "Refused; `error` says why", body = OAuthErrorBody),
        (status = 401, description = "`invalid_client`: the caller did not prove to be that client", body = OAuthErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be answered now; see Retry-After", body = ErrorBody),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn introspect(
    issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = Client::of(&state, context, &headers, &form).await?;
    if !client.app.is_confidential() {
        return Err(OAuthError::invalid_client());
    }
    let found = find(&state, client.id(), form.need("token")?).await?;
    let details = found.map(|found| Details {
        scope: write_scopes(found.scopes),
        client_id: client.id().to_string(),
        sub: match &found.user {
            Some(user) => user.to_string(),
            None => client.id().to_string(),
        },
        team_id: found.team.base_str().to_owned(),
        environment: client.app.created.environment.as_str(),
        token_type: found.token_type,
        exp: found.until.as_secs(),
        iat: found.since.as_secs(),
        iss: issuer.0.to_string(),
    });
    let mut response = axum::Json(Introspection {
        active: details.is_some(),
        details,
    })
    .into_response();
    uncached(&mut response);
    Ok(response)
}

struct Found {
    scopes: ScopeSet,
    user: Option<UserId>,
    team: TeamId,
    token_type: Option<&'static str>,
    since: Timestamp,
    until: Timestamp,
}

/// A token that is accepted, and was issued to that application.
async fn find(state: &AccountApi, app: &AppId, text: &str) -> Result<Option<Found>, OAuthError> {
    if let Some((token, proof)) = state.people.presented(TokenKind::GrantRefresh, text) {
        let directory = state.auth.directory();
        let id = GrantId::from_ulid(token.ulid()).ok();
        let found = id.and_then(|id| directory.grant(&id)).and_then(|grant| {
            let given = grant.live(entropy::now())?;
            let is_theirs = given.app == *app && grant.refreshes_with(&proof);
            let most = directory.app_scopes(app, &given.team, given.user.as_ref())?;
            is_theirs.then(|| Found {
                scopes: grant.scopes().intersection(most),
                user: given.user.clone(),
                team: given.team.clone(),
                token_type: None,
                since: given.at,
                until: grant.lasts_until().unwrap_or(given.at),
            })
        });
        return Ok(found);
    }
    match auth::app::recognise(state, text, None).await {
        Ok(standing) if standing.app.created.app == *app => Ok(Some(Found {
            scopes: standing.scopes,
            user: standing.user,
            team: standing.team,
            token_type: Some("Bearer"),
            since: standing.given_at,
            until: standing.expires_at,
        })),
        Ok(_) => Ok(None),
        Err(refused) if refused.status == StatusCode::UNAUTHORIZED => Ok(None),
        Err(away) => Err(away.into()),
    }
}
