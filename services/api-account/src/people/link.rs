//! Signing in by the link that a command on the machine prints.
//!
//! The token is in the fragment of the link and in the body of this request, so that it is in no address that a server or a log sees.

use std::net::IpAddr;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::header::{FORWARDED, HeaderName, VIA};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::CommandError;
use waybill_domain::access::email::Email;
use waybill_domain::access::local_owner::{LinkCommand, LocalOwner, local_owner};
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::UserRefusal;
use waybill_domain::event::Boundary;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::request::RequestContext;

use super::answer::{self, Keeping, TokensAnswer};
use super::by_address::anonymous;
use super::cookie;
use super::fields::required;
use super::log_in::decidable;
use super::sign_up::wrong_token;
use crate::people::sign_in;
use crate::state::AccountApi;

/// What proxies write: with one of these a request comes from elsewhere, even when its last hop is this machine.
const FORWARDED_BY: [HeaderName; 4] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// The token of a sign-in link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UseLink {
    /// What follows `#token=` in the link.
    #[schema(required = true)]
    token: Option<String>,
    /// Whether the refresh token goes into a cookie, for browsers.
    cookie: Option<bool>,
}

/// Sign in with the link that `waybill up` or `waybill dashboard` prints. It is good once, for 10 minutes, until another one is made, and only on the machine itself.
#[utoipa::path(
    post,
    path = "/v1/auth/link",
    operation_id = "auth.link.use",
    tag = "people",
    request_body = UseLink,
    responses(
        (status = 200, description = "A session", body = TokensAnswer),
        (status = 400, description = "A field is wrong, or the token not good (any more)", body = ErrorBody),
        (status = 403, description = "The request does not come from this machine, or a cookie is wanted by a page of another origin", body = ErrorBody),
        (status = 429, description = "Too many wrong tokens; see Retry-After", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn use_link(
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<UseLink>,
) -> Result<Response, ApiError> {
    if !is_from_here(context.source, &headers) {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::LoopbackOnly,
            "A sign-in link works only in a browser on the machine that Waybill runs on; elsewhere sign in with an e-mail address and a password",
        ));
    }
    let keeping = Keeping::wanted(request.cookie);
    if keeping == Keeping::Cookie {
        cookie::check_origin(&state.people, &headers)?;
    }
    let text = required("token", request.token)?;
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    let owner = local_owner();
    let (_, proof) = state
        .people
        .presented(TokenKind::SignInLink, &text)
        .filter(|(token, _)| token.ulid() == owner.ulid())
        .ok_or_else(|| wrong_token(&state, &context))?;
    decidable(&state).await?;
    let boundary = Boundary::User(state.people.address(&Email::of_local_owner()));
    let command = LinkCommand::Use { proof };
    let by = anonymous(&context);
    let run = state
        .control
        .run::<LocalOwner>(&boundary, command, &(), &by);
    let used = match run.await {
        Ok(used) => used,
        Err(CommandError::Refused(UserRefusal::TokenRefused)) => {
            return Err(wrong_token(&state, &context));
        }
        Err(error) => return Err(error.into()),
    };
    state.settle(used.version).await?;
    // Under the address that they have given, if they have.
    let user = state.auth.directory().user(&owner);
    let user = user.ok_or_else(ApiError::session_refused)?;
    let now = sign_in(&state, &user, "link", &context).await?;
    Ok(answer::tokens(&state, StatusCode::OK, &now, keeping))
}

/// Whether a request was made on this machine.
fn is_from_here(source: IpAddr, headers: &HeaderMap) -> bool {
    let is_forwarded = FORWARDED_BY.iter().any(|name| headers.contains_key(name));
    source.is_loopback() && !is_forwarded
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_comes_straight_from_this_machine_is_from_here() {
        let plain = HeaderMap::new();
        let from = |address: &str| address.parse::<IpAddr>().expect("an address");
        assert!(is_from_here(from("127.0.0.1"), &plain) && is_from_here(from("::1"), &plain));
        assert!(!is_from_here(from("192.0.2.7"), &plain) && !is_from_here(from("fd00::7"), &plain));
        for name in FORWARDED_BY {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("127.0.0.1"));
            assert!(!is_from_here(from("127.0.0.1"), &headers));
        }
    }
}
