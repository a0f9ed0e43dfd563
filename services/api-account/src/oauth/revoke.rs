//! Revocation of tokens by the client that holds them (RFC 7009).

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use waybill_domain::access::grant::{GrantCommand, GrantFamily, GrantRefusal};
use waybill_domain::access::token::TokenKind;
use waybill_domain::event::Boundary;
use waybill_domain::id::GrantId;

use super::client::Client;
use super::error::{OAuthError, OAuthErrorBody, uncached};
use super::introspect::PresentedToken;
use super::metadata::Issuer;
use super::parameters::Form;
use crate::state::AccountApi;
use waybill_commands::CommandError;
use waybill_edge::error::ErrorBody;
use waybill_edge::request::RequestContext;

/// Revoke a token. An access token is no longer accepted; a refresh token ends the whole grant.
///
/// A text that is not a token of the caller gets the same answer: there is nothing left to do.
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    operation_id = "oauth.token.revoke",
    tag = "oauth",
    security((), ("client" = [])),
    request_body(content = PresentedToken, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "No gateway accepts the token, if it ever was valid"),
        (status = 400, description = "Refused; `error` says why", body = OAuthErrorBody),
        (status = 401, description = "`invalid_client`: the caller did not prove to be that client", body = OAuthErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn revoke(
    _issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = Client::of(&state, context, &headers, &form).await?;
    if let Some((grant, command)) = command(&state, &client, form.need("token")?) {
        let boundary = Boundary::Grant(grant);
        let by = client.by();
        let run = state
            .control
            .run::<GrantFamily>(&boundary, command, &(), &by);
        match run.await {
            // Also when it was so already: a first try may have ended before every gateway knew.
            Ok(after) => state.settle_everywhere(after.version).await?,
            Err(CommandError::Refused(GrantRefusal::NoSuchGrant | GrantRefusal::NotYours)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut response = StatusCode::OK.into_response();
    uncached(&mut response);
    Ok(response)
}

fn command(state: &AccountApi, client: &Client, text: &str) -> Option<(GrantId, GrantCommand)> {
    let app = client.id().clone();
    if let Some((token, refresh)) = state.people.presented(TokenKind::GrantRefresh, text) {
        let grant = GrantId::from_ulid(token.ulid()).ok()?;
        return Some((grant, GrantCommand::Return { app, refresh }));
    }
    let (token, proof) = state.people.presented(TokenKind::Access, text)?;
    let grant = GrantId::from_ulid(token.ulid()).ok()?;
    Some((grant, GrantCommand::ReturnToken { app, token: proof }))
}
