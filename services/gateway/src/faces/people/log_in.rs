//! Signing in with a password.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::plan::{Guard, PolicyScope};
use waybill_domain::access::user::{User, UserCommand};
use waybill_domain::event::Boundary;
use waybill_domain::time::Timestamp;

use super::answer::{self, Keeping, TokensAnswer};
use super::cookie;
use super::errand::{by_stranger, command, freshen};
use super::fields::{candidate, email};
use crate::body::Json;
use crate::edge::RequestContext;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::limits::{Guarded, LimitRefusal};
use crate::people::mail::Occasion;
use crate::people::passwords::{Candidate, Verdict};
use crate::people::sign_in;
use crate::state::AppState;

/// Somebody who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// The address.
    #[schema(required = true)]
    email: Option<String>,
    /// The password.
    #[schema(required = true)]
    password: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Sign in. A wrong password and an unknown address are answered alike, and take as long.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "people",
    request_body = LogIn,
    responses(
        (status = 200, description = "A session", body = TokensAnswer),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 401, description = "Wrong address or password", body = ErrorBody),
        (status = 403, description = "A cookie is wanted by a page of another origin", body = ErrorBody),
        (status = 429, description = "Too many attempts; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn log_in(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<LogIn>,
) -> Result<Response, ApiError> {
    let keeping = Keeping::wanted(request.cookie);
    if keeping == Keeping::Cookie {
        cookie::check_origin(&state.people, &headers)?;
    }
    let email = email(request.email)?;
    let password = candidate("password", request.password)?;
    let user = prove(&state, &context, &email, password).await?;
    let now = sign_in(&state, &user, "password", &context).await?;
    Ok(answer::tokens(&state, StatusCode::OK, &now, keeping))
}

/// Who has that address and that password.
pub(crate) async fn prove(
    state: &AppState,
    context: &RequestContext,
    email: &Email,
    password: Candidate,
) -> Result<Arc<User>, ApiError> {
    let address = state.people.address(email);
    admit(state, context, &address).await?;
    decidable(state).await?;
    freshen(state, email).await?;
    let user = state.auth.directory().user_at(&address);
    let account = user.as_ref().and_then(|user| user.account.as_ref());
    let now = entropy::now();
    if let Some(until) = account.and_then(|account| account.locked_until(now)) {
        return Err(locked(until, now));
    }
    let stored = account.and_then(|account| account.password.clone());
    let (verdict, password) = state
        .people
        .passwords
        .check(password, stored.clone())
        .await?;
    match (verdict, user, stored) {
        (Verdict::Right, Some(user), Some(_)) => Ok(user),
        (Verdict::RightButOutdated, Some(user), Some(known)) => {
            let password = state.people.passwords.rehash(password).await?;
            let rehash = UserCommand::Rehash { known, password };
            command(
                state,
                &Boundary::User(address),
                rehash,
                &by_stranger(context),
            )
            .await?;
            Ok(user)
        }
        _ => {
            state.limiter.source_failed(context.source);
            Err(wrong())
        }
    }
}

/// Nothing is decided from a directory that is not complete, or that others may have moved past.
pub(super) async fn decidable(state: &AppState) -> Result<(), ApiError> {
    if !state.auth.is_caught_up() {
        return Err(ApiError::unavailable(
            "not_ready",
            "The gateway is starting; try again later",
        ));
    }
    state.fence.may_decide_soon().await?;
    Ok(())
}

/// Counts the attempt, on all gateways together. One too many for an account locks it; nobody is admitted whom nobody can count.
async fn admit(
    state: &AppState,
    context: &RequestContext,
    address: &EmailHash,
) -> Result<(), ApiError> {
    let guarded = Guarded {
        source: context.source,
        account: Some(address.as_str()),
        team: None,
    };
    let refusal = match state
        .limiter
        .guard(&context.limits, Guard::LogIn, &guarded)
        .await
    {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    if let LimitRefusal::Limited {
        limited,
        retry_after_s,
    } = &refusal
        && limited
            .violated()
            .any(|meter| meter.policy.scope == PolicyScope::Account)
    {
        let until = entropy::now().plus(std::time::Duration::from_secs(*retry_after_s));
        lock_out(state, context, address, until);
    }
    Err(refusal.into())
}

/// Writes down that an account is locked and tells its owner; later, so that the answer to unknown addresses takes as long.
fn lock_out(state: &AppState, context: &RequestContext, address: &EmailHash, until: Timestamp) {
    let Some(user) = state.auth.directory().user_at(address) else {
        return;
    };
    let now = entropy::now();
    let account = user
        .account
        .as_ref()
        .filter(|account| account.locked_until(now).is_none());
    let (Some(account), Some(leave)) = (account, state.people.errand()) else {
        return;
    };
    let tell = account.notice_is_due(now);
    let (state, by, boundary) = (
        state.clone(),
        by_stranger(context),
        Boundary::User(address.clone()),
    );
    state.tasks.clone().spawn(async move {
        match command(&state, &boundary, UserCommand::Lock { until }, &by).await {
            // Several attempts may come here before the first is known; only one of them was the one that locked.
            Ok(after) if after.changed => {
                if let (true, Some(who)) = (tell, &after.state.who) {
                    let until = until.to_rfc3339();
                    state
                        .people
                        .notify(&who.email, &Occasion::LockedOut { until });
                }
                metrics::counter!("waybill_accounts_locked_total").increment(1);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "a lock was not written down; the limit holds all the same");
            }
        }
        drop(leave);
    });
}

fn locked(until: Timestamp, now: Timestamp) -> ApiError {
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limit_exceeded",
        "Too many attempts to sign in; try again later",
    )
    .retry_after(until.since(now).as_secs().max(1))
}

fn wrong() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "invalid_credentials",
        "Wrong e-mail address or password",
    )
}
