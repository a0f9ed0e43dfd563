//! The holder of a session that was begun with an API key.
//!
//! The token says which key and session it is; what may be done with it is what the key allows now. Nothing is stored of a session until it
//! is ended.

use std::time::Duration;

use waybill_commands::entropy;
use waybill_domain::time::Timestamp;
use waybill_identity::jwt::of_keys::{KeyClaims, KeyTokenUse};
use waybill_log::Stream;
use waybill_log::subject::ControlSubject;

use super::directory::Known;
use crate::state::Edge;

/// A key that this gateway has not read yet is waited for this long: it was made at another gateway a moment ago.
const CATCH_UP: Duration = Duration::from_secs(2);

/// The key of a session, by a token that requests are made with.
pub(super) async fn recognise(state: &Edge, token: &str) -> Option<Known> {
    let (known, _) = standing(state, token, KeyTokenUse::Access).await?;
    Some(known)
}

/// The key of a session and the claims of its token, when the key is valid and the session has not ended.
pub async fn standing(
    state: &Edge,
    token: &str,
    purpose: KeyTokenUse,
) -> Option<(Known, KeyClaims)> {
    let now = entropy::now();
    let claims = match state.people.tokens.verify_of_key(token, purpose, now) {
        Ok(claims) => claims,
        Err(refused) => {
            tracing::debug!(%refused, "a token of the session of a key is refused");
            return None;
        }
    };
    let directory = state.auth.directory();
    if directory.key(&claims.sub).is_none() {
        // Only a token with a valid signature comes here, so nobody can make this gateway query the log for nothing.
        catch_up(state, &claims).await;
    }
    let known = directory.known(&claims.sub, now)?;
    let begun = i64::try_from(claims.begun).ok()?.saturating_mul(1_000);
    // The claims have whole seconds: a session counts as begun at the start of its second, so that none outlives its end.
    let begun = Timestamp(begun);
    let stands =
        known.team.base() == claims.org.base() && known.key.has_session(&claims.sid, begun);
    stands.then_some((known, claims))
}

async fn catch_up(state: &Edge, claims: &KeyClaims) {
    let filter = ControlSubject::key_of_any_team(&claims.sub);
    let known = async {
        let last = state.log.last(Stream::Control, &filter).await.ok()??;
        state.auth.wait_for(last.seq).await.ok()
    };
    // A timeout is no error here: the caller looks into the directory next, and finds the key or not.
    let _ = tokio::time::timeout(CATCH_UP, known).await;
}
