//! A person who is signed in, recognised by an access token.

use std::time::Duration;

use waybill_domain::access::role::Role;
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_domain::id::{SessionId, UserId};
use waybill_log::Stream;

use super::principal::Principal;
use crate::access::By;
use crate::edge::RequestContext;
use crate::entropy;
use crate::error::ApiError;
use crate::state::AppState;

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub user: UserId,
    /// On which device.
    pub session: SessionId,
    /// The request.
    pub context: RequestContext,
}

impl SignedIn {
    /// Who wants what this request wants.
    #[must_use]
    pub fn by(&self) -> By {
        By {
            actor: Actor::User(self.user.clone()),
            origin: Some(self.context.origin()),
        }
    }

    /// Charges a request that is about no team, or about none of theirs, to the person.
    pub(super) async fn charge(&self, state: &AppState) -> Result<(), ApiError> {
        let slot = &self.context.limits;
        Ok(state.limiter.take_person(slot, &self.user).await?)
    }

    /// The same person as a member of a team.
    pub(crate) fn in_team(self, role: Role) -> Principal {
        Principal::User {
            user: self.user,
            session: self.session,
            role,
        }
    }
}

/// A session that this gateway has not read yet is waited for so long: it was begun elsewhere a moment ago.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Whose access token this is, when it is good and its session and its person still are.
///
/// The signature alone opens nothing: a log-out or another password counts at once, however long the token would have lasted.
pub(crate) async fn recognise(
    state: &AppState,
    token: &str,
    context: &RequestContext,
) -> Option<SignedIn> {
    let now = entropy::now();
    let claims = match state.people.tokens.verify(token, now) {
        Ok(claims) => claims,
        Err(refused) => {
            tracing::debug!(%refused, "an access token is refused");
            return None;
        }
    };
    let directory = state.auth.directory();
    if directory.session(&claims.sid).is_none() {
        // Only a token that we signed comes here, so nobody can make us ask the log for nothing.
        catch_up(state, &claims.sid).await;
    }
    let (session, user) = directory.standing_session(&claims.sid, now)?;
    let (who, account) = user.confirmed()?;
    let same = who.id == claims.sub
        && account.generation == claims.generation
        && session
            .started
            .as_ref()
            .is_some_and(|started| started.user == claims.sub);
    same.then(|| SignedIn {
        user: claims.sub,
        session: claims.sid,
        context: context.clone(),
    })
}

async fn catch_up(state: &AppState, session: &SessionId) {
    let filter = Boundary::Session(session.clone()).filter();
    let known = async {
        let last = state.log.last(Stream::Control, &filter).await.ok()??;
        state.auth.wait_for(last.seq).await.ok()
    };
    // Whether it came is seen in the directory.
    let _ = tokio::time::timeout(CATCH_UP, known).await;
}
