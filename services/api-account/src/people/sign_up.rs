//! Sign-up: an account is asked for, and confirmed with a token that is mailed to the address.
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
use super::by_address::{anonymous, catch_up, catch_up_fully, command};
use super::cookie;
use super::fields::{new_password, required};
use super::letter_request;
use super::reset_request::request_reset;
use crate::people::sign_in;
use crate::state::AccountApi;
use waybill_commands::CommandError;
use waybill_commands::entropy;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::request::RequestContext;
use waybill_identity::SignUpPolicy;
use waybill_mail::{Letter, Occasion};

/// A request for an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUp {
    /// Where the token goes.
    #[schema(required = true)]
    email: Option<String>,
}

/// The answer, which is the same for every address.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// What happens now.
    message: &'static str,
}

/// The answer to every request that may send a mail, whether or not it does.
pub(super) fn accepted() -> (StatusCode, axum::Json<Accepted>) {
    let message = "If that can be done, a mail is on its way; it says how to go on";
    (StatusCode::ACCEPTED, axum::Json(Accepted { message }))
}

/// Ask for an account. The answer is the same whether or not the address has one, and whether or not it was invited.
///
/// `auth.signup` says who gets a mail: `open` everybody, `invited` whoever has an open invitation to a team. With `off` nobody may ask.
#[utoipa::path(
    post,
    path = "/v1/auth/signup",
    operation_id = "auth.account.create",
    tag = "people",
    request_body = SignUp,
    responses(
        (status = 202, description = "A mail goes to the address, if it may have one", body = Accepted),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 403, description = "Sign-up is off here", body = ErrorBody),
        (status = 429, description = "Too many sign-ups; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now, or no mail can be sent; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn sign_up(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<SignUp>,
) -> Result<(StatusCode, axum::Json<Accepted>), ApiError> {
    let policy = state.people.sign_up;
    if policy == SignUpPolicy::Off {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::SignupOff,
            "Sign-up is off here (auth.signup); ask the operator for an account",
        ));
    }
    let asked = letter_request::admit(&state, &context, Guard::SignUp, request.email).await?;
    let (email, address) = (&asked.email, &asked.address);
    match policy {
        // An invitation is an event of a team, which is not known here, so everything has to be read.
        SignUpPolicy::Invited => catch_up_fully(&state).await?,
        SignUpPolicy::Open | SignUpPolicy::Off => catch_up(&state, email).await?,
    }
    let occasion = if may_sign_up(&state, address) {
        invite(&state, &context, email, address).await?
    } else {
        let token = request_reset(&state, &context, address).await?;
        token.map(|token| Occasion::AlreadySignedUp { token })
    };
    let letter = occasion.map(|occasion| Letter::about(&occasion, email, &state.people.links));
    asked.letter_box.post(letter.as_ref()).await?;
    Ok(accepted())
}

/// Whether an account may be made for the address. Whoever has one, or is not invited, gets none; both are asked about as if a password
/// had been forgotten.
fn may_sign_up(state: &AccountApi, address: &EmailHash) -> bool {
    let directory = state.auth.directory();
    let known = directory.user_at(address);
    if known.is_some_and(|user| user.account.is_some()) {
        return false;
    }
    match state.people.sign_up {
        SignUpPolicy::Open => true,
        SignUpPolicy::Off => false,
        SignUpPolicy::Invited => directory.is_invited(address, entropy::now()),
    }
}

/// The letter to an address for which an account was asked for. One event about it is stored.
async fn invite(
    state: &AccountApi,
    context: &RequestContext,
    email: &Email,
    address: &EmailHash,
) -> Result<Option<Occasion>, ApiError> {
    let known = state.auth.directory().user_at(address);
    // Whoever asked before keeps the id, and the token has to name it.
    let mut id = known
        .and_then(|user| user.who.as_ref().map(|who| who.id.clone()))
        .unwrap_or_else(|| UserId::new(entropy::now(), entropy::random_u128()));
    for _ in 0..2 {
        let token = state.people.token(TokenKind::Confirmation, id.ulid());
        let (token, mac, pepper_version) =
            token.ok_or_else(|| ApiError::internal(&"no token could be made"))?;
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
        match command(state, &boundary, wanted, &anonymous(context)).await {
            Ok(after) => match after.state.who {
                // Somebody else asked for the same address at the same time and gave it another id.
                Some(who) if who.id != id => id = who.id,
                _ => {
                    let token = token.reveal().to_owned();
                    return Ok(Some(Occasion::ConfirmSignUp { token }));
                }
            },
            // Just now.
            Err(CommandError::Refused(UserRefusal::AlreadyConfirmed)) => {
                let token = request_reset(state, context, address).await?;
                return Ok(token.map(|token| Occasion::AlreadySignedUp { token }));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommandError::<UserRefusal>::Contended.into())
}

/// A confirmation: the token from the mail, and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The token that was mailed.
    #[schema(required = true)]
    token: Option<String>,
    /// 8 to 1024 bytes; none of the most common ones.
    #[schema(required = true)]
    password: Option<String>,
    /// A name for people, at most 100 characters. Default: the part of the address before the `@`.
    name: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Confirm an address, choose a password and be signed in.
#[utoipa::path(
    post,
    path = "/v1/auth/confirm",
    operation_id = "auth.address.confirm",
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
    State(state): State<AccountApi>,
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
    let confirmed = command(&state, &boundary, wanted, &anonymous(&context)).await?;
    state.settle(confirmed.version).await?;
    let now = sign_in(&state, &confirmed.state, "password", &context).await?;
    let device = state.people.issue_device_token(&confirmed.state);
    let status = StatusCode::CREATED;
    Ok(answer::tokens_on(
        &state,
        status,
        &now,
        keeping,
        device.as_deref(),
    ))
}

/// The person that a mailed token names, and the token's MACs to compare by.
pub(super) async fn mailed(
    state: &AccountApi,
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
        // The log may know more, but it is not asked for a source network with too many failures.
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
        catch_up_fully(state).await?;
    }
    let user = directory
        .user(&id)
        .ok_or_else(|| wrong_token(state, context))?;
    Ok((user, proof))
}

/// 400 for an invalid token. The source is charged, as with any wrong credential, and has to wait after too many.
pub(super) fn wrong_token(state: &AccountApi, context: &RequestContext) -> ApiError {
    match state
        .limiter
        .charge_failure(&context.limits, context.source)
    {
        Ok(()) => CommandError::Refused(UserRefusal::TokenRefused).into(),
        Err(refusal) => refusal.into(),
    }
}
