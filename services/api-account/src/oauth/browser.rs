//! Makes sure that the person who is signed in on a browser decided, and nobody else for them.
//!
//! A cookie for `/oauth` alone holds the access token of a session, which is checked on each request, so a log-out counts
//! here as everywhere. A decision also needs a page of this service (`Origin`) and a token from the very page on which this request was
//! shown to this session.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use waybill_domain::id::SessionId;
use waybill_domain::time::Timestamp;

use super::request::AuthorizationRequest;
use crate::people::cookie::Jar;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::auth::{SignedIn, person};
use waybill_edge::request::RequestContext;

/// How long a page can be answered.
const PAGE_LIFETIME: Duration = Duration::from_secs(600);

/// Who is signed in on the browser that sends these headers.
pub(super) async fn signed_in(
    state: &AccountApi,
    headers: &HeaderMap,
    context: &RequestContext,
) -> Option<SignedIn> {
    let token = Jar::Consent.find(&state.people, headers)?;
    person::recognise(state, token, context).await
}

/// The token of a page that shows `request` to a session.
pub(super) fn page_token(
    state: &AccountApi,
    session: &SessionId,
    request: &AuthorizationRequest,
) -> String {
    let until = entropy::now().plus(PAGE_LIFETIME);
    format!("{}.{}", until.0, mac(state, session, request, until))
}

/// Whether a token is that of such a page, and not too old.
pub(super) fn is_of_page(
    state: &AccountApi,
    session: &SessionId,
    request: &AuthorizationRequest,
    token: &str,
) -> bool {
    let Some((until, presented)) = token.split_once('.') else {
        return false;
    };
    let Some(until) = until.parse().ok().map(Timestamp) else {
        return false;
    };
    let own = mac(state, session, request, until);
    let is_own: bool = own.as_bytes().ct_eq(presented.as_bytes()).into();
    is_own && entropy::now() < until
}

fn mac(
    state: &AccountApi,
    session: &SessionId,
    request: &AuthorizationRequest,
    until: Timestamp,
) -> String {
    let key = state.control.pepper().derive("oauth-consent");
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(&key[..]).expect("any length");
    // Neither an id nor a query contains a line break.
    mac.update(format!("{session}\n{}\n{}", until.0, request.query()).as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
