//! Another password: by somebody who knows the old one, or who reads the mail.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::email::Email;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::{MailedDraft, User, UserCommand};
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;

use super::answer::{self, Keeping, TokensAnswer};
use super::cookie;
use super::errand::{Errand, by_stranger, command, freshen};
use super::fields::{candidate, email, new_password, required};
use super::log_in::{Before, prove};
use super::sign_up::{Accepted, accepted, mailed, wrong_token};
use crate::access::{By, Loaded};
use crate::auth::SignedIn;
use crate::body::Json;
use crate::edge::RequestContext;
use crate::entropy;
use crate::error::{ApiError, ErrorBody};
use crate::limits::Guarded;
use crate::people::mail::{Letter, Occasion};
use crate::people::sign_in;
use crate::state::AppState;

/// Somebody who wants another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangePassword {
    /// The one they have.
    #[schema(required = true)]
    current_password: Option<String>,
    /// 8 to 1024 bytes; none of the most common ones.
    #[schema(required = true)]
    new_password: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Change your password. All sessions end, this one too; the answer begins another one.
#[utoipa::path(
    post,
    path = "/v1/auth/password",
    tag = "people",
    security(("session" = [])),
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed; the only session left", body = TokensAnswer),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 401, description = "Nobody is signed in, or the password is wrong", body = ErrorBody),
        (status = 403, description = "A cookie is wanted by a page of another origin", body = ErrorBody),
        (status = 409, description = "There is no password, or it was changed meanwhile", body = ErrorBody),
        (status = 429, description = "Too many wrong passwords; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_password(
    State(state): State<AppState>,
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
            "no_password",
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
    let by = By {
        actor: Actor::User(person.user.clone()),
        origin: Some(person.context.origin()),
    };
    let boundary = Boundary::User(who.email_hash.clone());
    let change = UserCommand::ChangePassword { known, password };
    let changed = command(&state, &boundary, change, &by).await?;
    changed_everywhere(&state, &changed).await?;
    let now = sign_in(&state, &changed.state, "password", &person.context).await?;
    let device = state.people.introduce_device(&changed.state);
    let status = StatusCode::OK;
    Ok(answer::tokens_on(
        &state,
        status,
        &now,
        keeping,
        device.as_deref(),
    ))
}

/// Somebody who forgot a password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgotPassword {
    /// Where the token goes.
    #[schema(required = true)]
    email: Option<String>,
}

/// Ask for another password. The answer is the same whether or not the address is known.
#[utoipa::path(
    post,
    path = "/v1/auth/password/forgot",
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
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    Json(request): Json<ForgotPassword>,
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
        .guard(&context.limits, Guard::Reset, &guarded)
        .await?;
    let errand = Errand::prepare(&state)?;
    freshen(&state, &email).await?;
    let background = state.clone();
    errand.run(&state, move |place| async move {
        let state = background;
        let user = state.auth.directory().user_at(&address);
        let Some((who, _)) = user.as_ref().and_then(|user| user.confirmed()) else {
            return Ok(());
        };
        let token = state.people.token(TokenKind::Reset, who.id.ulid());
        let Some((token, mac, pepper_version)) = token else {
            return Ok(());
        };
        let wanted = UserCommand::RequestReset {
            token: MailedDraft {
                mac: mac.to_hex(),
                pepper_version,
            },
        };
        command(
            &state,
            &Boundary::User(address),
            wanted,
            &by_stranger(&context),
        )
        .await?;
        let occasion = Occasion::ResetPassword {
            token: token.reveal().to_owned(),
        };
        place.post(Letter::about(&occasion, &email, &state.people.links));
        Ok(())
    });
    Ok(accepted())
}

/// Somebody who reads the mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPassword {
    /// The token that was mailed.
    #[schema(required = true)]
    token: Option<String>,
    /// 8 to 1024 bytes; none of the most common ones.
    #[schema(required = true)]
    password: Option<String>,
}

/// Set another password with a token that was mailed. All sessions end.
#[utoipa::path(
    post,
    path = "/v1/auth/password/reset",
    tag = "people",
    request_body = ResetPassword,
    responses(
        (status = 204, description = "Set; sign in with it"),
        (status = 400, description = "A field is wrong, or the token not good (any more)", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn reset_password(
    State(state): State<AppState>,
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
    let changed = command(&state, &boundary, reset, &by_stranger(&context)).await?;
    changed_everywhere(&state, &changed).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits until nobody is signed in with the old password anywhere, and tells the owner of the address.
async fn changed_everywhere(state: &AppState, changed: &Loaded<User>) -> Result<(), ApiError> {
    if let Some(who) = &changed.state.who {
        let at = entropy::now().to_rfc3339();
        state
            .people
            .notify(&who.email, &Occasion::PasswordChanged { at });
    }
    state.settle_everywhere(changed.version).await?;
    Ok(())
}
