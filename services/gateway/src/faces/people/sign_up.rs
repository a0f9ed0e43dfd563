//! An account for an address: asked for, and confirmed with what was mailed there.
//!
//! The password comes with the confirmation. Were it taken at sign-up, somebody could sign up with a stranger's address and wait for
//! the stranger to click the link.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::plan::Guard;
use waybill_domain::access::proof::Proof;
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::{MailedDraft, Newcomer, User, UserCommand, UserRefusal};
use waybill_domain::event::Boundary;
use waybill_domain::id::UserId;
use waybill_log::Stream;

use super::answer::{self, Keeping, TokensAnswer};
use super::cookie;
use super::errand::{Errand, by_stranger, command, freshen};
use super::fields::{email, new_password, required};
use crate::access::CommandError;
use crate::body::Json;
use crate::edge::RequestContext;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::limits::Guarded;
use crate::people::mail::{Letter, Occasion};
use crate::people::sign_in;
use crate::state::AppState;

/// Somebody who wants an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// Where the token goes.
    #[schema(required = true)]
    email: Option<String>,
}

/// The same whoever asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// What happens now.
    message: &'static str,
}

/// What everybody is told whose mail is on its way, or not.
pub(super) fn accepted() -> (StatusCode, axum::Json<Accepted>) {
    let message = "If that can be done, a mail is on its way; it says how to go on";
    (StatusCode::ACCEPTED, axum::Json(Accepted { message }))
}

/// Ask for an account. The answer is the same whether or not the address has one.
#[utoipa::path(
    post,
    path = "/v1/auth/signup",
    tag = "people",
    request_body = SignUp,
    responses(
        (status = 202, description = "A mail goes to the address", body = Accepted),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 429, description = "Too many sign-ups; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn sign_up(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<SignUp>,
) -> Result<(StatusCode, axum::Json<Accepted>), ApiError> {
    let email = email(request.email)?;
    let address = state.people.address(&email);
    let mailbox = state.people.mailbox(&email);
    let guarded = Guarded {
        source: Some(context.source),
        account: Some(mailbox.as_str()),
        team: None,
    };
    state
        .limiter
        .guard(&context.limits, Guard::SignUp, &guarded)
        .await?;
    let errand = Errand::prepare(&state)?;
    freshen(&state, &email).await?;
    let background = state.clone();
    errand.run(&state, move |place| async move {
        let occasion = invite(&background, &context, &email, &address).await?;
        let people = &background.people;
        if let Some(occasion) = occasion {
            place.post(Letter::about(&occasion, &email, &people.links));
        }
        Ok(())
    });
    Ok(accepted())
}

/// What is written to an address for which an account is wanted.
async fn invite(
    state: &AppState,
    context: &RequestContext,
    email: &Email,
    address: &EmailHash,
) -> Result<Option<Occasion>, CommandError<UserRefusal>> {
    let known = state.auth.directory().user_at(address);
    // Whoever asked before keeps the id, and the token has to name it.
    let mut id = known
        .and_then(|user| user.who.as_ref().map(|who| who.id.clone()))
        .unwrap_or_else(|| UserId::new(entropy::now(), entropy::random_u128()));
    for _ in 0..2 {
        let token = state.people.token(TokenKind::Confirmation, id.ulid());
        let Some((token, mac, pepper_version)) = token else {
            return Ok(None);
        };
        let wanted = UserCommand::SignUp {
            newcomer: Newcomer {
                id: id.clone(),
                email: email.clone(),
                email_hash: address.clone(),
            },
            token: MailedDraft {
                mac: mac.to_hex(),
                pepper_version,
            },
        };
        let boundary = Boundary::User(address.clone());
        match command(state, &boundary, wanted, &by_stranger(context)).await {
            Ok(after) => match after.state.who {
                // Somebody else asked for the same address at the same time and gave it another id.
                Some(who) if who.id != id => id = who.id,
                _ => {
                    let token = token.reveal().to_owned();
                    return Ok(Some(Occasion::ConfirmSignUp { token }));
                }
            },
            Err(CommandError::Refused(UserRefusal::AlreadyConfirmed)) => {
                return Ok(Some(Occasion::AlreadySignedUp));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What proves that an address is somebody's, and their password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The token that was mailed.
    #[schema(required = true)]
    token: Option<String>,
    /// 8 to 1024 bytes; none of the most common ones.
    #[schema(required = true)]
    password: Option<String>,
    /// For people, at most 100 characters. Default: what stands before the `@`.
    name: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Confirm an address, choose a password and be signed in.
#[utoipa::path(
    post,
    path = "/v1/auth/confirm",
    tag = "people",
    request_body = Confirm,
    responses(
        (status = 201, description = "There is an account, and this is its first session", body = TokensAnswer),
        (status = 400, description = "A field is wrong, or the token not good (any more)", body = ErrorBody),
        (status = 403, description = "A cookie is wanted by a page of another origin", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn confirm(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<Confirm>,
) -> Result<Response, ApiError> {
    let keeping = Keeping::wanted(request.cookie);
    if keeping == Keeping::Cookie {
        cookie::check_origin(&state.people, &headers)?;
    }
    let text = required("token", request.token)?;
    let password = required("password", request.password)?;
    let (user, proof) = mailed(&state, &context, TokenKind::Confirmation, &text).await?;
    let who = user
        .who
        .as_ref()
        .filter(|_| user.confirms(&proof, entropy::now()));
    let who = who.ok_or_else(|| wrong_token(&state, &context))?;
    let password = new_password("password", password, &who.email)?;
    let name = request.name.unwrap_or_else(|| {
        who.email
            .split_once('@')
            .map_or_else(|| who.email.clone(), |(local, _)| local.to_owned())
    });
    let password = state.people.passwords.hash(password).await?;
    let boundary = Boundary::User(who.email_hash.clone());
    let wanted = UserCommand::Confirm {
        proof,
        password,
        name,
    };
    let confirmed = command(&state, &boundary, wanted, &by_stranger(&context)).await?;
    state.settle(confirmed.version).await?;
    let now = sign_in(&state, &confirmed.state, "password", &context).await?;
    let device = state.people.introduce_device(&confirmed.state);
    let status = StatusCode::CREATED;
    Ok(answer::tokens_on(
        &state,
        status,
        &now,
        keeping,
        device.as_deref(),
    ))
}

/// Whoever a mailed token names, and what it can be compared by.
pub(super) async fn mailed(
    state: &AppState,
    context: &RequestContext,
    kind: TokenKind,
    text: &str,
) -> Result<(Arc<User>, Proof), ApiError> {
    let (token, proof) = state
        .people
        .presented(kind, text)
        .ok_or_else(|| wrong_token(state, context))?;
    let id = UserId::from_ulid(token.ulid()).map_err(|_| wrong_token(state, context))?;
    let directory = state.auth.directory();
    let known = directory.user(&id);
    let now = entropy::now();
    let is_known = |user: &Arc<User>| user.confirms(&proof, now) || user.resets(&proof, now);
    if !known.as_ref().is_some_and(is_known) {
        // The log may know more, but it is not asked for strangers of whom too many were wrong.
        state
            .limiter
            .admit_source(&context.limits, context.source)?;
    }
    if let Some(user) = known {
        // It may have been asked for again through another gateway; the command is decided from the log.
        let who = user
            .who
            .as_ref()
            .ok_or_else(|| wrong_token(state, context))?;
        let filter = Boundary::User(who.email_hash.clone()).filter();
        if let Some(last) = state.log.last(Stream::Control, &filter).await? {
            state.settle(last.seq).await?;
        }
    } else {
        // Asked for a moment ago through another gateway, perhaps.
        let bounds = state.log.bounds(Stream::Control).await?;
        state.settle(bounds.last).await?;
    }
    let user = directory
        .user(&id)
        .ok_or_else(|| wrong_token(state, context))?;
    Ok((user, proof))
}

/// 400 for a token that is not good; the source is charged, as with any wrong credential, and told to wait after too many.
pub(super) fn wrong_token(state: &AppState, context: &RequestContext) -> ApiError {
    match state
        .limiter
        .charge_failure(&context.limits, context.source)
    {
        Ok(()) => CommandError::Refused(UserRefusal::TokenRefused).into(),
        Err(refusal) => refusal.into(),
    }
}
