//! Signing in with a password.

use std::net::IpAddr;
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
use waybill_domain::id::SessionId;
use waybill_domain::time::Timestamp;

use super::answer::{self, Keeping, TokensAnswer};
use super::by_address::{anonymous, catch_up, command};
use super::cookie::{self, Jar};
use super::fields::{candidate, email};
use crate::people::sign_in;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::limits::{Guarded, LimitRefusal};
use waybill_edge::request::RequestContext;
use waybill_identity::passwords::{Candidate, Verdict};
use waybill_mail::Occasion;

/// Somebody who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// Email address of the account.
    #[schema(required = true)]
    email: Option<String>,
    /// Password of the account, exactly as it was chosen.
    #[schema(required = true)]
    password: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
    /// From the last log-in on this device, for clients without cookies.
    #[serde(rename = "deviceToken")]
    device_token: Option<String>,
}

/// Sign in. A wrong password and an unknown address are answered alike, and take as long.
#[utoipa::path(
    post,
    path = "/v1/auth/login",
    operation_id = "auth.session.create",
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
    State(state): State<AccountApi>,
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
    let cookie = Jar::Device.find(&state.people, &headers);
    let device = request.device_token.as_deref().or(cookie);
    let user = prove(&state, &context, &email, password, Before::Device(device)).await?;
    let now = sign_in(&state, &user, "password", &context).await?;
    let device = state.people.issue_device_token(&user);
    let status = StatusCode::OK;
    Ok(answer::tokens_on(
        &state,
        status,
        &now,
        keeping,
        device.as_deref(),
    ))
}

/// What shows that whoever tries a password was signed in before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before<'a> {
    /// On the device with that token.
    Device(Option<&'a str>),
    /// They are signed in now.
    Session(&'a SessionId),
}

/// The person with that address and that password.
pub(crate) async fn prove(
    state: &AccountApi,
    context: &RequestContext,
    email: &Email,
    password: Candidate,
    before: Before<'_>,
) -> Result<Arc<User>, ApiError> {
    let address = state.people.address(email);
    let tried = Tried::new(state, context, &address, before);
    admit(state, context, &address, &tried).await?;
    decidable(state).await?;
    catch_up(state, email).await?;
    let user = state.auth.directory().user_at(&address);
    let account = user.as_ref().and_then(|user| user.account.as_ref());
    let stored = account.and_then(|account| account.password.clone());
    let (verdict, password) = state
        .people
        .passwords
        .check(password, stored.clone())
        .await?;
    let user = match (verdict, user, stored) {
        (Verdict::Right, Some(user), Some(_)) => user,
        (Verdict::RightButOutdated, Some(user), Some(known)) => {
            let password = state.people.passwords.rehash(password).await?;
            let rehash = UserCommand::Rehash { known, password };
            let boundary = Boundary::User(address);
            command(state, &boundary, rehash, &anonymous(context)).await?;
            user
        }
        _ => {
            state.limiter.source_failed(context.source);
            return Err(wrong());
        }
    };
    // Only failures count: people behind one address may sign in as often as they like.
    state.limiter.forgive(Guard::LogIn, &tried.guarded());
    Ok(user)
}

/// The holder against which an attempt at a password is counted.
struct Tried {
    source: Option<IpAddr>,
    account: String,
}

impl Tried {
    /// A known device is counted by itself. Everything else is counted by account and network and, more widely, by account. All of it
    /// starts over with a new password: whoever has reset theirs is not kept waiting by earlier attempts of others.
    fn new(
        state: &AccountApi,
        context: &RequestContext,
        address: &EmailHash,
        before: Before<'_>,
    ) -> Self {
        let user = state.auth.directory().user_at(address);
        let account = user.as_ref().and_then(|user| user.account.as_ref());
        let generation = account.map_or(0, |account| account.generation);
        let account = format!("{}-{generation}", address.as_str());
        let known = match before {
            Before::Device(token) => state.people.known_device(address, generation, token),
            Before::Session(session) => Some(session.to_string()),
        };
        match known {
            Some(known) => Self {
                source: None,
                account: format!("{account}-{known}"),
            },
            None => Self {
                source: Some(context.source),
                account,
            },
        }
    }

    fn guarded(&self) -> Guarded<'_> {
        Guarded {
            source: self.source,
            account: Some(&self.account),
            team: None,
        }
    }
}

/// Refuses while the directory is incomplete, or while this gateway holds no lease and others may know more.
pub(super) async fn decidable(state: &AccountApi) -> Result<(), ApiError> {
    state.auth.check_caught_up()?;
    state.fence.may_decide_soon().await?;
    Ok(())
}

/// Counts the attempt, on all gateways together. The limit alone decides, and it knows no accounts: so existing and unknown ones get the
/// same answer at every moment. One attempt too many is also reported to the owner. When attempts cannot be counted, none is admitted.
async fn admit(
    state: &AccountApi,
    context: &RequestContext,
    address: &EmailHash,
    tried: &Tried,
) -> Result<(), ApiError> {
    let refusal = match state
        .limiter
        .guard(&context.limits, Guard::LogIn, &tried.guarded())
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
            .any(|meter| meter.policy.scope != PolicyScope::Ip)
    {
        let until = entropy::now().plus(std::time::Duration::from_secs(*retry_after_s));
        lock_out(state, context, address, until);
    }
    Err(refusal.into())
}

/// Stores that an account is locked and tells its owner, after the answer, so that the answer for unknown addresses takes as long.
fn lock_out(state: &AccountApi, context: &RequestContext, address: &EmailHash, until: Timestamp) {
    let Some(user) = state.auth.directory().user_at(address) else {
        return;
    };
    let now = entropy::now();
    let account = user
        .account
        .as_ref()
        .filter(|account| account.locked_until(now).is_none());
    let (Some(account), Some(permit)) = (account, state.people.deferred_permit()) else {
        return;
    };
    let tell = account.notice_is_due(now);
    let (state, by, boundary) = (
        state.clone(),
        anonymous(context),
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
                tracing::warn!(%error, "locking an account after too many wrong passwords was not stored; the rate limit holds all the same");
            }
        }
        drop(permit);
    });
}

fn wrong() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        ErrorCode::InvalidCredentials,
        "Wrong e-mail address or password",
    )
}
