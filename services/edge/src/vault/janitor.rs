//! Completes interrupted work: erases the keys of revoked tokens, of replaced values, and of values that nothing uses.
//!
//! Every gateway does it; erasing twice does no harm. It acts only under the lease, from a directory that knows everything acknowledged.

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
use crate::state::Edge;
use waybill_commands::entropy;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JanitorTimes {
    /// Pause between two looks into the directory.
    pub look: Duration,
    /// Pause between two walks over all keys of tokens.
    pub walk: Duration,
    /// Age at which an unused key counts as orphaned: whoever stored it has given up long ago.
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

/// A token that needs work.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Due {
    team: TeamId,
    token: Arc<Token>,
}

/// Runs until stopped. The first look comes at once, the first walk with it.
pub async fn run(state: Edge, stop: CancellationToken) {
    let times = state.config.janitor;
    let work = async {
        let mut walked: Option<tokio::time::Instant> = None;
        loop {
            state.vault.end_epochs();
            if state.fence.is_serving() {
                look(&state).await;
                if walked.is_none_or(|at| at.elapsed() >= times.walk) && walk(&state, &times).await
                {
                    walked = Some(tokio::time::Instant::now());
                }
            }
            let next = if walked.is_none() {
                // The gateway has just begun, or NATS did not answer: what was interrupted should not wait long.
                times.look.min(Duration::from_secs(1))
            } else {
                times.look
            };
            tokio::time::sleep(next).await;
        }
    };
    // Cut off in the middle, a token is revoked and not shredded yet: the next round finds it, here or at another
    // gateway.
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Revokes expired tokens and shreds revoked ones.
async fn look(state: &Edge) {
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
                    tracing::debug!(%error, "an expired vault token is not known as expired yet");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "revoking an expired vault token failed; trying again later");
            }
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
            tracing::warn!(token = %due.token.id, %error, "a revoked vault token is not shredded yet; the janitor completes it");
        }
    }
}

/// All tokens for which `is_due` holds.
fn due(state: &Edge, is_due: impl Fn(&Token) -> bool) -> Vec<Due> {
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

/// Whether every process, workers included, has applied all that this gateway knows: only then may keys be erased.
async fn settled(state: &Edge) -> bool {
    let everywhere = async {
        let seen = state.log.bounds(Stream::Control).await?;
        state.settle(seen.last).await?;
        state.settle_everywhere(seen.last).await?;
        Ok::<_, crate::error::ApiError>(())
    };
    everywhere.await.is_ok()
}

/// Walks over the keys of all tokens and erases those that nothing uses. Returns whether it came to the end.
async fn walk(state: &Edge, times: &JanitorTimes) -> bool {
    let mut unused = HashSet::new();
    let mut after = StreamSeq(0);
    // Judged by the clock that dated the keys: a gateway's may be days off, and would take a creation under way for a failed one.
    let now = match state.log.bounds(Stream::Control).await {
        Ok(bounds) => bounds.now,
        Err(error) => {
            tracing::warn!(%error, "the keys of the vault cannot be looked at");
            return false;
        }
    };
    loop {
        let page = match state
            .vault
            .keys
            .list(&KeysOf::Tokens, after, MAX_LISTED)
            .await
        {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "listing the vault's keys failed; the janitor tries again later");
                return false;
            }
        };
        // A page can be short because it leaves out what is not the name of a key: only an empty one is the last.
        if page.is_empty() {
            break;
        }
        for listed in &page {
            after = listed.key.seq;
            if is_unused(state, listed, times, now) {
                unused.insert(listed.name.clone());
            }
        }
    }
    if unused.is_empty() {
        return true;
    }
    if !settled(state).await {
        return false;
    }
    tracing::info!(
        keys = unused.len(),
        "keys of the vault that nothing uses are erased"
    );
    for name in &unused {
        state.vault.forget(name).await;
    }
    true
}

fn is_unused(state: &Edge, listed: &ListedKey, times: &JanitorTimes, now: Timestamp) -> bool {
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

fn find(state: &Edge, team: &TeamId, token: &TokenId) -> Option<Arc<Token>> {
    let of_team = |known: &Team| known.tokens.get(token).cloned();
    let found = state.auth.directory().with_team(&team.base(), of_team)?;
    found.filter(|found| found.environment == team.environment())
}
