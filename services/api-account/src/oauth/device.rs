//! What a device asks for while a person decides elsewhere (RFC 8628): [`ask`] begins it, [`redeem`] answers its polls. What the person does
//! is in [`super::decision`].

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::access::grant::device::{
    DEVICE_LIFETIME, MAX_ASKED, MAX_ASKED_OF_APP, POLL_INTERVAL,
};
use waybill_domain::access::grant::{GrantCommand, GrantFamily};
use waybill_domain::access::token::TokenKind;
use waybill_domain::event::{Boundary, GrantAsked};
use waybill_domain::id::GrantId;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::request::RequestContext;

use super::client::Client;
use super::error::{OAuthError, OAuthErrorBody, uncached};
use super::metadata::Issuer;
use super::parameters::Form;
use super::token::{Fresh, TokenAnswer, exchange, wanted};
use crate::polls::Poll;
use crate::state::AccountApi;

/// The grant type of polls.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How often to draw another id whose short code nobody else shows.
const DRAWS: usize = 8;

/// The form with which a device begins.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by name")]
pub(crate) struct DeviceRequest {
    /// The client, unless it authenticates by `Authorization: Basic`.
    client_id: Option<String>,
    /// Its secret, if it has one and does not authenticate by `Authorization: Basic`.
    client_secret: Option<String>,
    /// What it asks for, with spaces between them; by default all that it is registered for.
    scope: Option<String>,
}

/// What a device shows to its person, and polls with.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceAnswer {
    /// For `POST /oauth/token`. It is shown to nobody.
    #[schema(example = "wb_code_...")]
    device_code: String,
    /// What the person types.
    #[schema(example = "WDJB-MJHT")]
    user_code: String,
    /// Where the person goes.
    #[schema(format = "uri", example = "https://waybill.example.com/ui/device")]
    verification_uri: String,
    /// The same with the code in it, such as for a QR code.
    #[schema(
        format = "uri",
        example = "https://waybill.example.com/ui/device?code=WDJB-MJHT"
    )]
    verification_uri_complete: String,
    /// Seconds for which the person may decide.
    expires_in: u64,
    /// Seconds between two polls.
    interval: u64,
}

/// Ask for access on a device without a browser, such as a terminal.
///
/// Show `user_code` and `verification_uri`, and poll `POST /oauth/token` with `device_code` every `interval` seconds until the person has
/// decided. At most 50 requests of an application, and 1,000 in all, wait for a decision at a time.
#[utoipa::path(
    post,
    path = "/oauth/device_authorization",
    operation_id = "oauth.device.ask",
    tag = "oauth",
    security((), ("client" = [])),
    request_body(content = DeviceRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The codes", body = DeviceAnswer),
        (status = 400, description = "Refused; `error` says why", body = OAuthErrorBody),
        (status = 401, description = "`invalid_client`: the caller did not prove to be that client", body = OAuthErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn ask(
    issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, OAuthError> {
    let client = Client::of(&state, context, &headers, &form).await?;
    let app = &client.app;
    let scopes = wanted(&form)?.unwrap_or(app.scopes);
    if !scopes.is_within(app.scopes) || scopes.is_empty() {
        let text = "the application is not registered for that scope";
        return Err(OAuthError::invalid_scope(text));
    }
    let now = entropy::now();
    let waiting = state.auth.directory().grants_asked(now);
    let of_app = |grant: &&std::sync::Arc<waybill_domain::access::grant::Grant>| {
        let asked = grant.asked.as_ref();
        asked.is_some_and(|asked| asked.app == *client.id())
    };
    if waiting.len() >= MAX_ASKED || waiting.iter().filter(of_app).count() >= MAX_ASKED_OF_APP {
        return Err(OAuthError::too_many_devices());
    }
    let ids = waiting.iter().filter_map(|grant| grant.asked.as_ref());
    let shown: Vec<_> = ids
        .map(|asked| state.people.user_code(&asked.grant))
        .collect();
    let mut drawn = (0..DRAWS).map(|_| {
        let grant = GrantId::new(now, entropy::random_u128());
        let code = state.people.user_code(&grant);
        (grant, code)
    });
    let (grant, user_code) = drawn
        .find(|(_, code)| !shown.contains(code))
        .ok_or_else(OAuthError::too_many_devices)?;
    let (code, mac, pepper_version) = state
        .people
        .token(TokenKind::Code, grant.ulid())
        .ok_or_else(|| ApiError::internal(&"no code could be made"))?;
    let asked = GrantAsked {
        grant: grant.clone(),
        app: client.id().clone(),
        team: app.created.team.clone(),
        environment: app.created.environment,
        scopes: scopes.iter().collect(),
        code_mac: mac.to_hex(),
        pepper_version,
        expires_at: now.plus(DEVICE_LIFETIME),
        at: now,
    };
    let after = state
        .control
        .run::<GrantFamily>(
            &Boundary::Grant(grant),
            GrantCommand::Ask(Box::new(asked)),
            &(),
            &client.by(),
        )
        .await?;
    state.settle(after.version).await?;
    let page = format!("{}/ui/device", issuer.0);
    let mut response = axum::Json(DeviceAnswer {
        device_code: code.reveal().to_owned(),
        verification_uri_complete: format!("{page}?code={user_code}"),
        verification_uri: page,
        user_code,
        expires_in: DEVICE_LIFETIME.as_secs(),
        interval: POLL_INTERVAL.as_secs(),
    })
    .into_response();
    uncached(&mut response);
    Ok(response)
}

/// Answers a poll.
pub(super) async fn redeem(
    state: &AccountApi,
    client: &Client,
    form: &Form,
) -> Result<TokenAnswer, OAuthError> {
    let presented = state
        .people
        .presented(TokenKind::Code, form.need("device_code")?)
        .and_then(|(code, proof)| Some((GrantId::from_ulid(code.ulid()).ok()?, proof)));
    let (grant, code) = presented.ok_or_else(OAuthError::invalid_grant)?;
    let now = entropy::now();
    // While nobody has decided, polls are answered from memory: they read no log.
    let known = state.auth.directory().grant(&grant);
    if let Some(asked) = known.as_ref().and_then(|grant| grant.pending(now)) {
        if asked.app != *client.id() || !code.is_of(&asked.code_mac, asked.pepper_version) {
            return Err(OAuthError::invalid_grant());
        }
        return Err(match state.polls().note(&grant, now) {
            Poll::InTime => OAuthError::authorization_pending(),
            Poll::TooSoon(interval) => OAuthError::slow_down(interval),
        });
    }
    let fresh = Fresh::make(state, &grant)?;
    let command = GrantCommand::RedeemDevice {
        app: client.id().clone(),
        code,
        tokens: fresh.macs.clone(),
    };
    exchange(state, client, &grant, command, vec![fresh]).await
}
