//! Signing in by an outside OpenID Connect issuer, in a browser.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;
use waybill_domain::access::email::Email;
use waybill_domain::access::name::is_plain;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::user::{User, UserCommand};
use waybill_domain::event::{Boundary, OutsideAccount};
use waybill_domain::id::UserId;

use super::answer::{self, Keeping, TokensAnswer};
use super::by_address::{anonymous, catch_up, command};
use super::cookie::Jar;
use super::log_in::decidable;
use crate::people::sign_in;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::limits::Guarded;
use waybill_edge::query::Query;
use waybill_edge::request::RequestContext;
use waybill_identity::oidc::{ATTEMPT_LIFETIME, OidcReturn, OutsideIdentity};

/// The page of the web application to which outside log-ins return. It is fixed, so that nobody can have people sent elsewhere.
const LANDING: &str = "signed-in";

/// Begin to sign in with an outside issuer: redirects to its page.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/{issuer}/start",
    operation_id = "auth.oidc.start",
    tag = "people",
    params(("issuer" = String, Path, description = "Name of the issuer, as configured")),
    responses(
        (status = 302, description = "To the issuer's page"),
        (status = 404, description = "No such issuer", body = ErrorBody),
        (status = 429, description = "Too many attempts; see Retry-After", body = ErrorBody),
        (status = 503, description = "The issuer does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn start(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    Path(issuer): Path<String>,
) -> Result<Response, ApiError> {
    guard(&state, &context).await?;
    let redirected = state.people.oidc.start(&issuer, entropy::now()).await?;
    let mut response = redirect(StatusCode::FOUND, &redirected.location)?;
    let cookie = Some(redirected.cookie.as_str());
    Jar::Attempt.set(
        &state.people,
        response.headers_mut(),
        cookie,
        ATTEMPT_LIFETIME,
    );
    Ok(response)
}

/// Finish signing in with an outside issuer, which sends the browser here.
#[utoipa::path(
    get,
    path = "/v1/auth/oidc/{issuer}/callback",
    operation_id = "auth.oidc.finish",
    tag = "people",
    params(("issuer" = String, Path, description = "Name of the issuer, as configured"), OidcReturn),
    responses(
        (status = 200, description = "A session, where no web application is configured", body = TokensAnswer),
        (status = 303, description = "To the web application, with the refresh token in a cookie"),
        (status = 400, description = "Not begun in this browser, or the issuer's answer is not acceptable", body = ErrorBody),
        (status = 403, description = "The issuer does not vouch for an address", body = ErrorBody),
        (status = 404, description = "No such issuer", body = ErrorBody),
        (status = 429, description = "Too many attempts; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn callback(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    Path(issuer): Path<String>,
    headers: HeaderMap,
    Query(returned): Query<OidcReturn>,
) -> Result<Response, ApiError> {
    guard(&state, &context).await?;
    decidable(&state).await?;
    let people = &state.people;
    let cookie = Jar::Attempt.find(people, &headers);
    let identity = people
        .oidc
        .finish(&issuer, cookie, &returned, entropy::now())
        .await?;
    let user = person(&state, &context, identity).await?;
    let now = sign_in(&state, &user, &format!("oidc:{issuer}"), &context).await?;
    let landing = people
        .app_url
        .as_ref()
        .and_then(|app| app.join(LANDING).ok());
    let mut response = match &landing {
        None => answer::tokens(&state, StatusCode::OK, &now, Keeping::Body),
        Some(page) => {
            let mut response = redirect(StatusCode::SEE_OTHER, page)?;
            let refresh = Some(now.refresh.reveal());
            Jar::Refresh.set(people, response.headers_mut(), refresh, people.session_idle);
            response
        }
    };
    Jar::Attempt.set(people, response.headers_mut(), None, Duration::ZERO);
    Ok(response)
}

/// The person with that outside account, else the one with the address that the issuer verified, else a new one.
async fn person(
    state: &AccountApi,
    context: &RequestContext,
    identity: OutsideIdentity,
) -> Result<Arc<User>, ApiError> {
    let directory = state.auth.directory();
    let account = OutsideAccount {
        issuer: identity.issuer,
        subject: identity.subject,
    };
    if let Some(user) = directory.user_outside(&account) {
        return Ok(user);
    }
    let email = identity
        .verified_email
        .and_then(|email| Email::parse(&email).ok());
    let email = email.ok_or_else(|| {
        ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::EmailNotVerified,
            "The issuer does not vouch for an e-mail address of yours",
        )
    })?;
    catch_up(state, &email).await?;
    let address = state.people.address(&email);
    let local = email
        .as_str()
        .split_once('@')
        .map_or("", |(local, _)| local);
    let name = identity
        .name
        .map(|name| name.trim().replace(char::is_control, ""));
    let come = UserCommand::ComeFromOutside {
        newcomer: waybill_domain::access::user::Newcomer {
            id: UserId::new(entropy::now(), entropy::random_u128()),
            email: email.clone(),
            email_hash: address.clone(),
        },
        account,
        name: name
            // An issuer's people may be called anything; who is called what cannot be shown keeps the address's name.
            .filter(|name| is_plain(name))
            .unwrap_or_else(|| local.to_owned()),
    };
    let known = command(state, &Boundary::User(address), come, &anonymous(context)).await?;
    state.settle(known.version).await?;
    Ok(Arc::new(known.state))
}

async fn guard(state: &AccountApi, context: &RequestContext) -> Result<(), ApiError> {
    let guarded = Guarded {
        source: Some(context.source),
        account: None,
        team: None,
    };
    state
        .limiter
        .guard(&context.limits, Guard::LogIn, &guarded)
        .await?;
    Ok(())
}

fn redirect(status: StatusCode, to: &Url) -> Result<Response, ApiError> {
    let location =
        HeaderValue::from_str(to.as_str()).map_err(|error| ApiError::internal(&error))?;
    Ok((status, [(LOCATION, location)]).into_response())
}
