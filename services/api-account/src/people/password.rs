//! Changing a password: with the old one, or with a token from a mail.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::email::Email;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::{User, UserCommand};
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;

use super::answer::{self, Keeping, TokensAnswer};
use super::by_address::{anonymous, catch_up, command};
use super::cookie;
use super::fields::{candidate, new_password, required};
use super::letter_request;
use super::log_in::{Before, prove};
use super::reset_request::request_reset;
use super::sign_up::{Accepted, accepted, mailed, wrong_token};
use crate::people::sign_in;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_commands::{Author, Loaded};
use waybill_edge::auth::SignedIn;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::request::RequestContext;
use waybill_mail::{Letter, Occasion};

/// A change of the password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangePassword {
    /// The present password.
    #[schema(required = true)]
    current_password: Option<String>,
    /// 8 to 1024 bytes, and not one of the most common passwords.
    #[schema(required = true)]
    new_password: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Change your password. All sessions end, this one too; the answer begins a new one.
#[utoipa::path(
    post,
    path = "/v1/auth/password",
    operation_id = "auth.password.change",
    tag = "people",
    security(("session" = [])),
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed; the only session left", body = TokensAnswer),
        (status = 401, description = "Access token missing, invalid or expired, or the password is wrong", body = ErrorBody),
        (status = 403, description = "A cookie is wanted by a page of another origin", body = ErrorBody),
        (status = 409, description = "There is no password, or it was changed meanwhile", body = ErrorBody),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_password(
    State(state): State<AccountApi>,
    person: SignedIn,
    headers: HeaderMap,
    Json(request): Json<ChangePassword>,
) -> Result<Response, ApiError> {
    let keeping = Keeping::wanted(request.cookie);
    if keeping == Keeping::Cookie {
        cookie::check_origin(&state.people, &headers)?;
    }
    let current = candidate("currentPassword", request.current_password)?;
    let wanted = required("newPassword", request.new_password)?;
    let user = state.auth.directory().user(&person.user);
    let user = user.ok_or_else(ApiError::session_refused)?;
    let (who, account) = user.confirmed().ok_or_else(ApiError::session_refused)?;
    if account.password.is_none() {
        return Err(ApiError::conflict(
            ErrorCode::NoPassword,
            "This account has no password; ask for one with /v1/auth/password/forgot",
        ));
    }
    let wanted = new_password("newPassword", wanted, &who.email)?;
    let email = Email::parse(&who.email).map_err(|error| ApiError::internal(&error))?;
    // The old one is asked for because a session may be in the wrong hands, so it is guarded like a log-in.
    let proven = prove(
        &state,
        &person.context,
        &email,
        current,
        Before::Session(&person.session),
    )
    .await?;
    let known = proven
        .account
        .as_ref()
        .and_then(|account| account.password.clone());
    let known = known.ok_or_else(ApiError::session_refused)?;
    let password = state.people.passwords.hash(wanted).await?;
    let by = Author {
        actor: Actor::User(person.user.clone()),
        origin: Some(person.context.origin()),
    };
    let boundary = Boundary::User(who.email_hash.clone());
    let change = UserCommand::ChangePassword { known, password };
    let changed = command(&state, &boundary, change, &by).await?;
    changed_everywhere(&state, &changed).await?;
    let now = sign_in(&state, &changed.state, "password", &person.context).await?;
    let device = state.people.issue_device_token(&changed.state);
    let status = StatusCode::OK;
    Ok(answer::tokens_on(
        &state,
        status,
        &now,
        keeping,
        device.as_deref(),
    ))
}

/// A request for a new password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// Where the token goes.
    #[schema(required = true)]
    email: Option<String>,
}

/// Ask for a new password. The answer is the same whether or not the address is known.
#[utoipa::path(
    post,
    path = "/v1/auth/password/forgot",
    operation_id = "auth.password.forget",
    tag = "people",
    request_body = ForgotPassword,
    responses(
        (status = 202, description = "A mail goes to the address, if it is known", body = Accepted),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 429, description = "Asked too often; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn forgot_password(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<ForgotPassword>,
) -> Result<(StatusCode, axum::Json<Accepted>), ApiError> {
    let asked = letter_request::admit(&state, &context, Guard::Reset, request.email).await?;
    let (email, address) = (&asked.email, &asked.address);
    catch_up(&state, email).await?;
    let token = request_reset(&state, &context, address).await?;
    let letter = token.map(|token| {
        let occasion = Occasion::ResetPassword { token };
        Letter::about(&occasion, email, &state.people.links)
    });
    asked.letter_box.post(letter.as_ref()).await?;
    Ok(accepted())
}

/// A new password, with the token from a mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token that was mailed.
    #[schema(required = true)]
    token: Option<String>,
    /// 8 to 1024 bytes, and not one of the most common passwords.
    #[schema(required = true)]
    password: Option<String>,
}

/// Set a new password with a token that was mailed. All sessions end.
#[utoipa::path(
    post,
    path = "/v1/auth/password/reset",
    operation_id = "auth.password.reset",
    tag = "people",
    request_body = ResetPassword,
    responses(
        (status = 204, description = "Set; sign in with it"),
        (status = 400, description = "A field is wrong, or the token is invalid or expired", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn reset_password(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<ResetPassword>,
) -> Result<StatusCode, ApiError> {
    let text = required("token", request.token)?;
    let password = required("password", request.password)?;
    let (user, proof) = mailed(&state, &context, TokenKind::Reset, &text).await?;
    let who = user
        .who
        .as_ref()
        .filter(|_| user.resets(&proof, entropy::now()));
    let who = who.ok_or_else(|| wrong_token(&state, &context))?;
    let password = new_password("password", password, &who.email)?;
    let password = state.people.passwords.hash(password).await?;
    let boundary = Boundary::User(who.email_hash.clone());
    let reset = UserCommand::ResetPassword { proof, password };
    let changed = command(&state, &boundary, reset, &anonymous(&context)).await?;
    changed_everywhere(&state, &changed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits until no session of the old password is accepted anywhere, and tells the owner of the address.
async fn changed_everywhere(state: &AccountApi, changed: &Loaded<User>) -> Result<(), ApiError> {
    if let Some(who) = &changed.state.who {
        let at = entropy::now().to_rfc3339();
        state
            .people
            .notify(&who.email, &Occasion::PasswordChanged { at });
    }
    state.settle_everywhere(changed.version).await?;
    Ok(())
}
