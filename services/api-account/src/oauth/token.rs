//! The token endpoint: access tokens for codes, for refresh tokens, and for clients themselves.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::grant::{FreshTokens, GrantCommand, GrantFamily, TOKEN_LIFETIME};
use waybill_domain::access::pkce::Challenge;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::event::{Boundary, GrantGiven};
use waybill_domain::id::GrantId;
use waybill_domain::time::Timestamp;

use super::client::Client;
use super::device;
use super::error::{OAuthError, OAuthErrorBody, uncached};
use super::metadata::Issuer;
use super::parameters::Form;
use super::{read_scopes, write_scopes};
use crate::state::AccountApi;
use waybill_commands::Loaded;
use waybill_commands::entropy;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::request::RequestContext;

/// The form with which an application asks for a token.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by name")]
pub(crate) struct TokenRequest {
    /// `authorization_code`, `client_credentials`, `refresh_token` or `urn:ietf:params:oauth:grant-type:device_code`.
    grant_type: String,
    /// The client, unless it authenticates by `Authorization: Basic`.
    client_id: Option<String>,
    /// Its secret, if it has one and does not authenticate by `Authorization: Basic`.
    client_secret: Option<String>,
    /// With `authorization_code`.
    code: Option<String>,
    /// With `authorization_code`: what `code_challenge` was the SHA-256 of.
    code_verifier: Option<String>,
    /// With `authorization_code`: as the code was asked for, or nothing.
    #[schema(format = "uri")]
    redirect_uri: Option<String>,
    /// With `urn:ietf:params:oauth:grant-type:device_code`.
    device_code: Option<String>,
    /// With `refresh_token`.
    refresh_token: Option<String>,
    /// With `client_credentials` and `refresh_token`: fewer scopes than could be had, with spaces between them.
    scope: Option<String>,
}

/// Tokens. They can be read this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenAnswer {
    /// Calls the API as `Authorization: Bearer`.
    #[schema(example = "wb_at_...")]
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds for which the access token is valid.
    expires_in: u64,
    /// Valid for one refresh; present only where a person consented.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// What the access token may do now.
    scope: String,
}

/// Exchange a code, a refresh token or the client's own credentials for an access token.
///
/// A code is valid once and for 60 seconds, a refresh token once. A second use ends the grant with every token of it;
/// but the refresh token that was used last gets the same tokens again for 10 seconds.
///
/// A device polls with its code: while nobody has decided the answer is 400 with `authorization_pending`, or `slow_down` when it polls more
/// often than it was told, after which it waits five seconds longer each time; then the tokens, `access_denied` or `expired_token`.
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "oauth.token.create",
    tag = "oauth",
    security((), ("client" = [])),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Tokens", body = TokenAnswer),
        (status = 400, description = "Refused; `error` says why", body = OAuthErrorBody),
        (status = 401, description = "`invalid_client`: the caller did not prove to be that client", body = OAuthErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn token(
    _issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = Client::of(&state, context, &headers, &form).await?;
    let answer = match form.need("grant_type")? {
        "authorization_code" => redeem(&state, &client, &form).await,
        "client_credentials" => give(&state, &client, &form).await,
        "refresh_token" => refresh(&state, &client, &form).await,
        device::GRANT_TYPE => device::redeem(&state, &client, &form).await,
        _ => Err(OAuthError::unsupported_grant_type()),
    }?;
    let mut response = axum::Json(answer).into_response();
    uncached(&mut response);
    Ok(response)
}

async fn redeem(
    state: &AccountApi,
    client: &Client,
    form: &Form,
) -> Result<TokenAnswer, OAuthError> {
    let presented = state
        .people
        .presented(TokenKind::Code, form.need("code")?)
        .and_then(|(code, proof)| Some((GrantId::from_ulid(code.ulid()).ok()?, proof)));
    let challenge = form.get("code_verifier").and_then(Challenge::of);
    let (Some((grant, code)), Some(challenge)) = (presented, challenge) else {
        return Err(OAuthError::invalid_grant());
    };
    let fresh = Fresh::make(state, &grant)?;
    let command = GrantCommand::Redeem {
        app: client.id().clone(),
        code,
        challenge,
        redirect_uri: form.get("redirect_uri").map(str::to_owned),
        tokens: fresh.macs.clone(),
    };
    exchange(state, client, &grant, command, vec![fresh]).await
}

async fn refresh(
    state: &AccountApi,
    client: &Client,
    form: &Form,
) -> Result<TokenAnswer, OAuthError> {
    let presented = state
        .people
        .presented(TokenKind::GrantRefresh, form.need("refresh_token")?)
        .and_then(|(token, proof)| Some((GrantId::from_ulid(token.ulid()).ok()?, token, proof)));
    let (grant, used, refresh) = presented.ok_or_else(OAuthError::invalid_grant)?;
    let scopes = wanted(form)?;
    let fresh = Fresh::derive(state, &used)?;
    let command = GrantCommand::Refresh {
        app: client.id().clone(),
        refresh,
        scopes,
        tokens: fresh.iter().map(|fresh| fresh.macs.clone()).collect(),
        grace: state.people.refresh_grace,
    };
    exchange(state, client, &grant, command, fresh).await
}

/// Runs a command that makes tokens, or that ends the grant because what was presented was used before.
pub(super) async fn exchange(
    state: &AccountApi,
    client: &Client,
    grant: &GrantId,
    command: GrantCommand,
    fresh: Vec<Fresh>,
) -> Result<TokenAnswer, OAuthError> {
    let boundary = Boundary::Grant(grant.clone());
    let after: Loaded<GrantFamily> = state
        .control
        .run(&boundary, command, &(), &client.by())
        .await?;
    if let Some(reason) = after.state.grant.revoked {
        tracing::warn!(%grant, app = %client.id(), ?reason, "a grant was ended: a code or token came twice");
        state.settle_everywhere(after.version).await?;
        return Err(OAuthError::invalid_grant());
    }
    // The code or token is used up, so a gateway that is slow to read must still hand out what it was exchanged for.
    if let Err(late) = state.settle(after.version).await {
        tracing::warn!(%late, "tokens were handed out before this gateway has applied their grant; it refuses them for a moment");
    }
    let standing = state
        .auth
        .directory()
        .standing_app(&after.state.grant, entropy::now())
        // The person left the team, or it is another application than it was.
        .filter(|standing| !standing.scopes.is_empty())
        .ok_or_else(OAuthError::invalid_grant)?;
    let fresh = fresh
        .into_iter()
        .find(|fresh| after.state.grant.holds(&fresh.macs))
        .ok_or_else(OAuthError::invalid_grant)?;
    Ok(fresh.answer(standing.expires_at, standing.scopes, WithRefresh::Yes))
}

async fn give(state: &AccountApi, client: &Client, form: &Form) -> Result<TokenAnswer, OAuthError> {
    if !client.app.is_confidential() {
        return Err(OAuthError::unauthorized_client(
            "a public client cannot act for itself",
        ));
    }
    let most = client.app.own_scopes();
    let scopes = wanted(form)?.unwrap_or(most);
    if let Some(scope) = scopes.first_outside(most) {
        return Err(OAuthError::invalid_scope(format!(
            "this client cannot have {scope} for itself"
        )));
    }
    if scopes.is_empty() {
        return Err(OAuthError::invalid_scope(
            "this client is registered for nothing that it could do for itself",
        ));
    }
    let now = entropy::now();
    let grant = GrantId::new(now, entropy::random_u128());
    let fresh = Fresh::make(state, &grant)?;
    let until = now.plus(TOKEN_LIFETIME);
    let given = GrantGiven {
        grant: grant.clone(),
        app: client.id().clone(),
        team: client.app.created.team.clone(),
        environment: client.app.created.environment,
        user: None,
        scopes: scopes.iter().collect(),
        code_mac: None,
        challenge: None,
        redirect_uri: None,
        code_expires_at: None,
        token_mac: Some(fresh.macs.token_mac.clone()),
        token_expires_at: Some(until),
        pepper_version: fresh.macs.pepper_version,
        expires_at: until,
        at: now,
    };
    let after = state
        .control
        .run::<GrantFamily>(
            &Boundary::Grant(grant),
            GrantCommand::Give(Box::new(given)),
            &(),
            &client.by(),
        )
        .await?;
    state.settle(after.version).await?;
    Ok(fresh.answer(until, scopes, WithRefresh::No))
}

/// The scopes asked for, if any are.
pub(super) fn wanted(form: &Form) -> Result<Option<ScopeSet>, OAuthError> {
    let read = |text| {
        read_scopes(text)
            .ok_or_else(|| OAuthError::invalid_scope("a scope of that name does not exist"))
    };
    form.get("scope").map(read).transpose()
}

/// Whether a refresh token is handed out.
#[derive(Clone, Copy)]
enum WithRefresh {
    Yes,
    No,
}

/// Tokens just made.
pub(super) struct Fresh {
    access: Token,
    refresh: Token,
    pub(super) macs: FreshTokens,
}

impl Fresh {
    pub(super) fn make(state: &AccountApi, grant: &GrantId) -> Result<Self, OAuthError> {
        let make = |kind| {
            let made = state.people.token(kind, grant.ulid());
            made.ok_or_else(|| ApiError::internal(&"no token could be made"))
        };
        let (access, token_mac, pepper_version) = make(TokenKind::Access)?;
        let (refresh, refresh_mac, _) = make(TokenKind::GrantRefresh)?;
        Ok(Self {
            access,
            refresh,
            macs: FreshTokens {
                token_mac: token_mac.to_hex(),
                refresh_mac: refresh_mac.to_hex(),
                pepper_version,
            },
        })
    }

    /// The successors of a refresh token, one for each known pepper; the current one first.
    fn derive(state: &AccountApi, used: &Token) -> Result<Vec<Self>, OAuthError> {
        let derive = |kind| {
            let derived = state.people.successors(kind, used);
            derived.ok_or_else(|| ApiError::internal(&"no token could be made"))
        };
        let pairs = derive(TokenKind::Access)?
            .into_iter()
            .zip(derive(TokenKind::GrantRefresh)?);
        let fresh = pairs.map(
            |((access, token_mac, pepper_version), (refresh, refresh_mac, _))| Self {
                access,
                refresh,
                macs: FreshTokens {
                    token_mac: token_mac.to_hex(),
                    refresh_mac: refresh_mac.to_hex(),
                    pepper_version,
                },
            },
        );
        Ok(fresh.collect())
    }

    fn answer(self, until: Timestamp, scopes: ScopeSet, with: WithRefresh) -> TokenAnswer {
        TokenAnswer {
            access_token: self.access.reveal().to_owned(),
            token_type: "Bearer",
            expires_in: until.since(entropy::now()).as_secs(),
            refresh_token: match with {
                WithRefresh::Yes => Some(self.refresh.reveal().to_owned()),
                WithRefresh::No => None,
            },
            scope: write_scopes(scopes),
        }
    }
}
