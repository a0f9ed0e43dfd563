//! The answers of the endpoints for people.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::email::Email;
use waybill_domain::access::session::Session;
use waybill_domain::access::user::User;
use waybill_domain::id::SessionId;

use super::cookie::Jar;
use crate::people::SignedInNow;
use crate::state::AccountApi;
use waybill_edge::iso::Iso;

/// How long a browser remembers that somebody has signed in there.
pub(crate) const DEVICE_LIFETIME: Duration = Duration::from_secs(180 * 86_400);

/// Where a refresh token goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Into the answer.
    Body,
    /// Into a cookie.
    Cookie,
}

impl Keeping {
    /// What the request asks for.
    pub(super) fn wanted(cookie: Option<bool>) -> Self {
        if cookie == Some(true) {
            Self::Cookie
        } else {
            Self::Body
        }
    }
}

/// The tokens of a session. They are shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokensAnswer {
    /// Goes into `Authorization: Bearer`.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds for which the access token is valid.
    expires_in: u64,
    /// Valid for one refresh. Absent when it is in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Id of the session, by which it can be listed and ended.
    session_id: String,
    /// Comes with a log-in. Sent along with the next one from this device, it keeps others who guess passwords from locking this device out;
    /// it grants no access. Absent when it is in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<String>,
}

/// Hands out the tokens.
pub(super) fn tokens(
    state: &AccountApi,
    status: StatusCode,
    now: &SignedInNow,
    keeping: Keeping,
) -> Response {
    tokens_on(state, status, now, keeping, None)
}

/// Hands out the tokens after a log-in with a password, on a device that is known from now on.
pub(super) fn tokens_on(
    state: &AccountApi,
    status: StatusCode,
    now: &SignedInNow,
    keeping: Keeping,
    device: Option<&str>,
) -> Response {
    let people = &state.people;
    let refresh = now.refresh.reveal();
    let body = TokensAnswer {
        access_token: now.access.clone(),
        token_type: "Bearer",
        expires_in: people.tokens.lifetime().as_secs(),
        refresh_token: (keeping == Keeping::Body).then(|| refresh.to_owned()),
        session_id: now.session.to_string(),
        device_token: device
            .filter(|_| keeping == Keeping::Body)
            .map(str::to_owned),
    };
    let mut response = (status, axum::Json(body)).into_response();
    if keeping == Keeping::Cookie {
        Jar::Refresh.set(
            people,
            response.headers_mut(),
            Some(refresh),
            people.session_idle,
        );
        if device.is_some() {
            Jar::Device.set(people, response.headers_mut(), device, DEVICE_LIFETIME);
        }
    }
    response
}

/// A session, to its owner.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionObject {
    id: String,
    /// Whether it is the one that asks.
    current: bool,
    /// `password`, `link` for a sign-in link, or `oidc:` and the name of an issuer.
    method: String,
    /// Address from which it began.
    source: String,
    /// The `User-Agent` of the client.
    agent: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    /// When its refresh token was last used.
    #[schema(value_type = String, format = DateTime)]
    used_at: Iso,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Iso,
}

impl SessionObject {
    pub(super) fn new(session: &Session, current: &SessionId) -> Option<Self> {
        let started = session.started.as_ref()?;
        Some(Self {
            id: started.session.to_string(),
            current: started.session == *current,
            method: started.method.clone(),
            source: started.source.clone(),
            agent: started.agent.clone(),
            created_at: Iso(started.at),
            used_at: Iso(session.used_at),
            expires_at: Iso(session.idle_until.min(started.expires_at)),
        })
    }
}

/// A person, to themselves.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserObject {
    id: String,
    email: String,
    name: String,
    /// Whether they can sign in with a password.
    has_password: bool,
    /// Identifiers of the outside issuers that they can sign in with.
    issuers: Vec<String>,
    /// Whether they came by a sign-in link and have given no address: `email` is one that receives nothing then, and they invite nobody.
    needs_address: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
}

impl UserObject {
    pub(super) fn new(user: &User) -> Option<Self> {
        let (who, account) = user.confirmed()?;
        Some(Self {
            id: who.id.to_string(),
            email: who.email.clone(),
            name: account.name.clone(),
            has_password: account.password.is_some(),
            issuers: account
                .outside
                .iter()
                .map(|outside| outside.issuer.clone())
                .collect(),
            needs_address: Email::is_of_local_owner(&who.email),
            created_at: Iso(account.since),
        })
    }
}
