//! A person who is signed in, recognised by an access token.

use std::time::Duration;

use waybill_domain::access::role::Role;
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_domain::id::{SessionId, UserId};
use waybill_log::Stream;

use crate::error::ApiError;
use crate::principal::Principal;
use crate::request::RequestContext;
use crate::state::Edge;
use waybill_commands::Author;
use waybill_commands::entropy;

/// A person who is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub user: UserId,
    /// The session, which is one device.
    pub session: SessionId,
    pub context: RequestContext,
}

impl SignedIn {
    /// The author of the commands of this request.
    #[must_use]
    pub fn by(&self) -> Author {
        Author {
            actor: Actor::User(self.user.clone()),
            origin: Some(self.context.origin()),
        }
    }

    /// Charges a request that is about no team, or about none of theirs, to the person.
    pub(super) async fn charge(&self, state: &Edge) -> Result<(), ApiError> {
        let slot = &self.context.limits;
        Ok(state.limiter.take_person(slot, &self.user).await?)
    }

    /// The same person as a member of a team.
    pub fn in_team(self, role: Role) -> Principal {
        Principal::User {
            user: self.user,
            session: self.session,
            role,
        }
    }
}

/// A session that this gateway has not read yet is waited for this long: it was begun at another gateway a moment ago.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Identifies the person by an access token, when the token, its session and the account are still valid.
///
/// The signature alone is not enough: a log-out or a changed password counts at once, however long the token would have lasted.
pub async fn recognise(state: &Edge, token: &str, context: &RequestContext) -> Option<SignedIn> {
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
        // Only a token with a valid signature comes here, so nobody can make this gateway query the log for nothing.
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

async fn catch_up(state: &Edge, session: &SessionId) {
    let filter = Boundary::Session(session.clone()).filter();
    let known = async {
        let last = state.log.last(Stream::Control, &filter).await.ok()??;
        state.auth.wait_for(last.seq).await.ok()
    };
    // A timeout is no error here: the caller looks into the directory next, and finds the session or not.
    let _ = tokio::time::timeout(CATCH_UP, known).await;
}
