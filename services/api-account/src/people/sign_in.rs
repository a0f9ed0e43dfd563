//! Beginning a session, however the person was identified.

use waybill_domain::access::session::{SessionCommand, SessionFamily};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::access::user::User;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, SessionStarted};
use waybill_domain::id::SessionId;

use crate::state::AccountApi;
use waybill_commands::Author;
use waybill_commands::entropy;
use waybill_edge::error::ApiError;
use waybill_edge::request::RequestContext;
use waybill_identity::jwt::Bearer;

/// A session just begun or refreshed. Its tokens can be shown this once.
pub(crate) struct SignedInNow {
    pub(crate) session: SessionId,
    pub(crate) access: String,
    pub(crate) refresh: Token,
}

/// Begins a session for a person; the person must be confirmed.
pub(crate) async fn sign_in(
    state: &AccountApi,
    user: &User,
    method: &str,
    context: &RequestContext,
) -> Result<SignedInNow, ApiError> {
    let (who, account) = user.confirmed().ok_or_else(ApiError::session_refused)?;
    let people = &state.people;
    let now = entropy::now();
    let session = SessionId::new(now, entropy::random_u128());
    let (refresh, mac, pepper_version) = people
        .token(TokenKind::SessionRefresh, session.ulid())
        .ok_or_else(|| ApiError::internal(&"no token could be made"))?;
    let origin = context.origin();
    let started = SessionStarted {
        session: session.clone(),
        user: who.id.clone(),
        generation: account.generation,
        method: method.to_owned(),
        refresh_mac: mac.to_hex(),
        pepper_version,
        idle_until: now.plus(people.session_idle.min(people.session_lifetime)),
        expires_at: now.plus(people.session_lifetime),
        source: origin.source.to_string(),
        agent: origin.agent.as_deref().map(str::to_owned),
        at: now,
    };
    let by = Author {
        actor: Actor::User(who.id.clone()),
        origin: Some(origin),
    };
    let boundary = Boundary::Session(session.clone());
    let command = SessionCommand::Start(Box::new(started));
    let begun = state
        .control
        .run::<SessionFamily>(&boundary, command, &(), &by)
        .await?;
    state.settle(begun.version).await?;
    let bearer = Bearer {
        user: who.id.clone(),
        session: session.clone(),
        generation: account.generation,
    };
    let access = access_token(state, &bearer)?;
    Ok(SignedInNow {
        session,
        access,
        refresh,
    })
}

/// An access token for a session.
pub(crate) fn access_token(state: &AccountApi, bearer: &Bearer) -> Result<String, ApiError> {
    let token = state
        .people
        .tokens
        .issue(bearer, entropy::random_u128(), entropy::now());
    token.map_err(|refused| ApiError::internal(&refused))
}
