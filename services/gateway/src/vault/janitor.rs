//! Completes what was interrupted: keys of tokens that are no more, of values that were replaced, and of what was sealed for nothing.
//!
//! Every gateway does it; erasing twice is fine. It acts only under the lease, from a directory that knows all that was answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waybill_domain::access::team::vault::TokenCommand;
use waybill_domain::access::team::{Team, TeamCommand, Token};
use waybill_domain::event::TokenEnd;
use waybill_domain::id::{TeamId, TokenId};
use waybill_domain::time::Timestamp;
use waybill_log::vault_keys::MAX_LISTED;
use waybill_log::{KeyName, KeysOf, ListedKey, Stream, StreamSeq};

use super::shred::{self, shred};
use crate::entropy;
use crate::state::AppState;

/// Times of the janitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JanitorTimes {
    /// Between two looks at what the directory says.
    pub look: Duration,
    /// Between two walks over all keys of tokens.
    pub walk: Duration,
    /// A key of this age that nothing uses was made for nothing: whoever made it has given up long ago.
    pub orphaned: Duration,
}

impl Default for JanitorTimes {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(30),
            walk: Duration::from_secs(600),
            orphaned: Duration::from_secs(3_600),
        }
    }
}

/// What is to be done about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    team: TeamId,
    token: Arc<Token>,
}

/// Runs until stopped. The first look comes at once, the first walk with it.
pub(crate) async fn run(state: AppState, stop: CancellationToken) {
    let times = state.config.janitor;
    let work = async {
        let mut walked: Option<tokio::time::Instant> = None;
        loop {
            if state.fence.is_serving() {
                look(&state).await;
                if walked.is_none_or(|at| at.elapsed() >= times.walk) && walk(&state, &times).await
                {
                    walked = Some(tokio::time::Instant::now());
                }
            }
            let next = if walked.is_none() {
                // The gateway has just begun, or NATS was away: what was interrupted should not wait long.
                times.look.min(Duration::from_secs(1))
            } else {
                times.look
            };
            tokio::time::sleep(next).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Ends what is due by what the directory says.
async fn look(state: &AppState) {
    let now = entropy::now();
    for due in due(state, |token| {
        token.revoked.is_none() && token.has_expired(now)
    }) {
        let command = TeamCommand::Token(TokenCommand::Revoke {
            token: due.token.id.clone(),
            reason: TokenEnd::Expired,
        });
        let by = shred::janitor();
        match state.control.run_team(&due.team, command, &by).await {
            Ok(after) => {
                if let Err(error) = state.settle(after.version).await {
                    tracing::debug!(%error, "a token that has expired is not known as such yet");
                }
            }
            Err(error) => tracing::debug!(%error, "a token that has expired is not revoked yet"),
        }
    }
    let unshredded = due(state, |token| {
        token.revoked.is_some() && token.shredded.is_none()
    });
    if unshredded.is_empty() || !settled(state).await {
        return;
    }
    for due in unshredded {
        let shredded = shred(state, &due.team, due.token.environment, &due.token.id).await;
        if let Err(error) = shredded {
            tracing::warn!(token = %due.token.id, %error, "a revoked token is not shredded yet");
        }
    }
}

/// All tokens that something is to be done about.
fn due(state: &AppState, is_due: impl Fn(&Token) -> bool) -> Vec<Due> {
    let directory = state.auth.directory();
    let mut found = Vec::new();
    for team in directory.teams() {
        let of_team = |known: &Team| {
            let tokens = known.tokens.values().filter(|token| is_due(token));
            tokens.cloned().collect::<Vec<_>>()
        };
        let tokens = directory.with_team(&team, of_team).unwrap_or_default();
        found.extend(tokens.into_iter().map(|token| Due {
            team: team.clone(),
            token,
        }));
    }
    found
}

/// Whether everybody, workers included, knows all that this gateway knows: only then may keys go.
async fn settled(state: &AppState) -> bool {
    let everywhere = async {
        let seen = state.log.bounds(Stream::Control).await?;
        state.settle(seen.last).await?;
        state.settle_everywhere(seen.last).await?;
        Ok::<_, crate::error::ApiError>(())
    };
    everywhere.await.is_ok()
}

/// Looks at every key of a token. Says whether it came to the end.
async fn walk(state: &AppState, times: &JanitorTimes) -> bool {
    let mut useless = HashSet::new();
    let mut after = StreamSeq(0);
    loop {
        let page = match state
            .vault
            .keys
            .list(&KeysOf::Tokens, after, MAX_LISTED)
            .await
        {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "the keys of the vault cannot be looked at");
                return false;
            }
        };
        // A page may be short of what is no name of a key: only an empty one is the last.
        if page.is_empty() {
            break;
        }
        for listed in &page {
            after = listed.key.seq;
            if is_useless(state, listed, times, entropy::now()) {
                useless.insert(listed.name.clone());
            }
        }
    }
    if useless.is_empty() {
        return true;
    }
    if !settled(state).await {
        return false;
    }
    tracing::info!(
        keys = useless.len(),
        "keys of the vault that nothing uses are erased"
    );
    for name in &useless {
        state.vault.forget(name).await;
    }
    true
}

fn is_useless(state: &AppState, listed: &ListedKey, times: &JanitorTimes, now: Timestamp) -> bool {
    let KeyName::Token {
        team,
        token,
        version,
    } = &listed.name
    else {
        return false;
    };
    let is_old = now >= listed.key.at.plus(times.orphaned);
    match find(state, team, token) {
        // Never known: a creation that failed between its key and its event.
        None => is_old,
        Some(found) if found.revoked.is_some() => true,
        Some(found) if *version < found.version => true,
        // A rotation that failed, or is under way.
        Some(found) if *version > found.version => is_old,
        Some(_) => false,
    }
}

fn find(state: &AppState, team: &TeamId, token: &TokenId) -> Option<Arc<Token>> {
    let of_team = |known: &Team| known.tokens.get(token).cloned();
    let found = state.auth.directory().with_team(&team.base(), of_team)?;
    found.filter(|found| found.environment == team.environment())
}
