//! The vault tokens that this worker knows, and the opened keys that it holds briefly.
//!
//! Both are behind one lock: a key is kept only while the directory says that its version is the
//! current one of an unrevoked token, and is dropped at the moment when the directory learns
//! otherwise. A look-up that began before cannot put it back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{TeamId, TokenId};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::AllowedHosts;
use waybill_log::StreamSeq;

use super::cache::KeyCache;
use super::failure::VaultFailure;
use super::open::Opened;

/// Limit of revoked tokens that can be told from unknown ones. The oldest are forgotten first.
const MAX_REVOKED: usize = 100_000;

/// A token that may be used.
#[derive(Debug)]
pub(super) struct Token {
    /// The team in its environment.
    pub(super) team: TeamId,
    pub(super) version: u32,
    /// Position in CONTROL of the envelope of this version.
    pub(super) sealed_at: StreamSeq,
    pub(super) hosts: Arc<AllowedHosts>,
    expires_at: Option<Timestamp>,
    /// Whether its first use was reported.
    is_used: Arc<AtomicBool>,
}

impl Token {
    pub(super) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    pub(super) fn set_unused(&self) {
        self.is_used.store(false, Ordering::Relaxed);
    }

    pub(super) fn set_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }
}

/// Tokens and opened keys. Locked for a look-up or a batch of events, never across an await.
#[derive(Debug, Default)]
pub(super) struct Directory(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tokens: HashMap<TokenId, Arc<Token>>,
    revoked: HashSet<TokenId>,
    revoked_in_order: VecDeque<TokenId>,
    /// Teams with an event that may have revoked a token, but that this version cannot decode.
    closed: HashSet<TeamId>,
    keys: KeyCache,
    /// Whether everything is known that CONTROL had when reading began.
    is_complete: bool,
}

impl Directory {
    /// Applies events of CONTROL, in order.
    pub(super) fn apply<'a>(&self, events: impl Iterator<Item = (StreamSeq, &'a ControlEvent)>) {
        let mut state = self.lock();
        for (seq, event) in events {
            state.apply(seq, event);
        }
    }

    /// Closes all tokens of a team, because this version cannot decode an event about them. Only a
    /// restart with a version that can starts over.
    pub(super) fn close(&self, team: TeamId) {
        let mut state = self.lock();
        let of_team = state
            .tokens
            .iter()
            .filter(|(_, token)| token.team.base() == team);
        let ids: Vec<_> = of_team.map(|(id, _)| id.clone()).collect();
        for id in ids {
            state.keys.forget(&id);
        }
        state.closed.insert(team);
    }

    /// Records that everything is known that existed at the start.
    pub(super) fn complete(&self) {
        self.lock().is_complete = true;
    }

    /// Clears the directory, because what was read belongs to a history that the log no longer has.
    pub(super) fn begin_anew(&self) {
        *self.lock() = State::default();
    }

    /// The token, if a task of that team and environment may use it now.
    pub(super) fn usable(
        &self,
        token: &TokenId,
        team: &TeamId,
        now: Timestamp,
    ) -> Result<Arc<Token>, VaultFailure> {
        self.lock().usable(token, team, now).cloned()
    }

    /// The opened key of exactly this version, if it is cached.
    pub(super) fn key(&self, token: &TokenId, version: u32) -> Option<Arc<Opened>> {
        self.lock().keys.get(token, version, Instant::now())
    }

    /// Caches an opened key, unless another version is current by now, or the token was revoked.
    pub(super) fn hold(&self, token: &TokenId, version: u32, opened: &Arc<Opened>) {
        let mut state = self.lock();
        if state
            .tokens
            .get(token)
            .is_some_and(|known| known.version == version)
        {
            state
                .keys
                .put(token, version, Arc::clone(opened), Instant::now());
        }
    }

    /// Drops expired keys.
    pub(super) fn forget_old_keys(&self) {
        let mut state = self.lock();
        state.keys.expire(Instant::now());
        #[expect(clippy::cast_precision_loss, reason = "a gauge; the count is small")]
        metrics::gauge!("waybill_vault_keys_held").set(state.keys.len() as f64);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl State {
    fn usable(
        &self,
        token: &TokenId,
        team: &TeamId,
        now: Timestamp,
    ) -> Result<&Arc<Token>, VaultFailure> {
        if !self.is_complete {
            // A token that is unknown here may exist all the same.
            return Err(VaultFailure::NoLease);
        }
        let Some(known) = self.tokens.get(token) else {
            return Err(if self.revoked.contains(token) {
                VaultFailure::Revoked(token.clone())
            } else {
                VaultFailure::Unknown(token.to_string())
            });
        };
        if self.closed.contains(&team.base()) {
            return Err(VaultFailure::NotUnderstood(token.clone()));
        }
        // The token of another team or environment: the caller does not learn that it exists.
        if known.team != *team {
            return Err(VaultFailure::Unknown(token.to_string()));
        }
        if known.expires_at.is_some_and(|at| at <= now) {
            return Err(VaultFailure::Expired(token.clone()));
        }
        Ok(known)
    }

    fn apply(&mut self, seq: StreamSeq, event: &ControlEvent) {
        match event {
            ControlEvent::TokenCreated(e) => {
                if self.revoked.contains(&e.token) || self.tokens.contains_key(&e.token) {
                    return;
                }
                let token = Token {
                    team: e.team.in_environment(e.environment),
                    version: e.version,
                    sealed_at: seq,
                    hosts: Arc::new(AllowedHosts::stored(&e.allowed_hosts)),
                    expires_at: e.expires_at,
                    is_used: Arc::default(),
                };
                self.tokens.insert(e.token.clone(), Arc::new(token));
            }
            ControlEvent::TokenRotated(e) => {
                let Some(known) = self.tokens.get_mut(&e.token) else {
                    return;
                };
                if e.version > known.version && e.team.base() == known.team.base() {
                    *known = Arc::new(Token {
                        team: known.team.clone(),
                        version: e.version,
                        sealed_at: seq,
                        hosts: Arc::clone(&known.hosts),
                        expires_at: known.expires_at,
                        is_used: Arc::clone(&known.is_used),
                    });
                    self.keys.forget(&e.token);
                }
            }
            ControlEvent::TokenRevoked(e) => self.revoke(&e.token),
            ControlEvent::TokenShredded(e) => self.revoke(&e.token),
            ControlEvent::TokenUsed(e) => {
                if let Some(known) = self.tokens.get(&e.token) {
                    known.set_used();
                }
            }
            ControlEvent::TeamDeleted(e) => {
                let of_team = self
                    .tokens
                    .iter()
                    .filter(|(_, token)| token.team.base() == e.team.base());
                let gone: Vec<_> = of_team.map(|(id, _)| id.clone()).collect();
                for token in gone {
                    self.revoke(&token);
                }
            }
            _ => {}
        }
    }

    fn revoke(&mut self, token: &TokenId) {
        self.keys.forget(token);
        self.tokens.remove(token);
        if self.revoked.insert(token.clone()) {
            self.revoked_in_order.push_back(token.clone());
        }
        if self.revoked_in_order.len() > MAX_REVOKED
            && let Some(oldest) = self.revoked_in_order.pop_front()
        {
            self.revoked.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use waybill_domain::event::{
        TeamDeleted, TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenUsed,
    };
    use waybill_domain::id::{Environment, TaskId};
    use waybill_domain::partition::Partition;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn team() -> TeamId {
        TeamId::new(Timestamp(1), 1)
    }

    fn token(number: u128) -> TokenId {
        TokenId::new(Timestamp(1), number)
    }

    fn created(number: u128) -> ControlEvent {
        ControlEvent::TokenCreated(TokenCreated {
            token: token(number),
            team: team(),
            environment: Environment::Live,
            name: "n".into(),
            version: 1,
            envelope: String::new(),
            fits_header: true,
            allowed_hosts: Vec::new(),
            expires_at: Some(Timestamp(2_000)),
            created_by: "user:u".into(),
            at: NOW,
        })
    }

    fn rotated(number: u128, version: u32) -> ControlEvent {
        ControlEvent::TokenRotated(TokenRotated {
            token: token(number),
            team: team(),
            version,
            envelope: String::new(),
            fits_header: true,
            at: NOW,
        })
    }

    fn revoked(number: u128) -> ControlEvent {
        ControlEvent::TokenRevoked(TokenRevoked {
            token: token(number),
            team: team(),
            reason: TokenEnd::Requested,
            at: NOW,
        })
    }

    fn after(events: &[ControlEvent]) -> Directory {
        let directory = Directory::default();
        directory.complete();
        apply(&directory, 1, events);
        directory
    }

    fn apply(directory: &Directory, first: u64, events: &[ControlEvent]) {
        let seqs = (first..).map(StreamSeq);
        directory.apply(seqs.zip(events));
    }

    fn usable(directory: &Directory, number: u128) -> Result<(u32, StreamSeq), VaultFailure> {
        let found = directory.usable(&token(number), &team(), NOW)?;
        Ok((found.version, found.sealed_at))
    }

    #[test]
    fn the_version_that_counts_is_the_last_one() {
        let directory = after(&[created(1), rotated(1, 2), rotated(1, 2), rotated(1, 3)]);
        assert_eq!(usable(&directory, 1), Ok((3, StreamSeq(4))));
    }

    #[test]
    fn nobody_else_is_told_that_a_token_exists() {
        let directory = after(&[created(1)]);
        let unknown = Err(VaultFailure::Unknown(token(1).to_string()));
        let foreign = TeamId::new(Timestamp(2), 2);
        for other in [foreign, team().in_environment(Environment::Test)] {
            let found = directory.usable(&token(1), &other, NOW);
            assert_eq!(found.map(|found| found.version), unknown);
        }
    }

    #[test]
    fn what_is_not_understood_of_a_team_closes_its_tokens_and_no_others() {
        let directory = after(&[created(1)]);
        let opened = Arc::new(Opened::for_tests(10));
        directory.hold(&token(1), 1, &opened);
        directory.close(TeamId::new(Timestamp(2), 2));
        assert!(directory.key(&token(1), 1).is_some());
        assert!(usable(&directory, 1).is_ok());
        directory.close(team());
        assert!(directory.key(&token(1), 1).is_none(), "its key is dropped");
        let closed = Err(VaultFailure::NotUnderstood(token(1)));
        assert_eq!(usable(&directory, 1), closed);
        apply(&directory, 2, &[rotated(1, 2)]);
        assert_eq!(usable(&directory, 1), closed, "it stays closed");
    }

    #[test]
    fn at_its_time_a_token_is_over() {
        let directory = after(&[created(1)]);
        let found = directory.usable(&token(1), &team(), Timestamp(2_000));
        assert_eq!(found.err(), Some(VaultFailure::Expired(token(1))));
    }

    #[test]
    fn what_was_taken_away_does_not_come_back() {
        let deleted = ControlEvent::TeamDeleted(TeamDeleted {
            team: team(),
            at: NOW,
        });
        for end in [revoked(1), deleted] {
            let directory = after(&[created(1), end, rotated(1, 2), created(1)]);
            let gone = Err(VaultFailure::Revoked(token(1)));
            assert_eq!(usable(&directory, 1), gone);
        }
    }

    #[tokio::test]
    async fn a_look_up_that_began_before_puts_no_key_back() {
        let opened = Arc::new(Opened::for_tests(10));
        for (event, version) in [(revoked(1), 1), (rotated(1, 2), 1)] {
            let directory = after(&[created(1)]);
            directory.hold(&token(1), 1, &opened);
            assert!(directory.key(&token(1), 1).is_some());
            apply(&directory, 2, &[event]);
            assert!(directory.key(&token(1), version).is_none(), "it is dropped");
            directory.hold(&token(1), version, &opened);
            assert!(directory.key(&token(1), version).is_none(), "and stays so");
        }
    }

    #[test]
    fn a_use_stays_known_over_a_rotation() {
        let used = ControlEvent::TokenUsed(TokenUsed {
            token: token(1),
            team: team(),
            environment: Environment::Live,
            version: 1,
            task: TaskId::new(NOW, 1, Partition::new(0).expect("one")),
            host: "x".into(),
            at: NOW,
        });
        let directory = after(&[created(1), used, rotated(1, 2)]);
        let found = directory.usable(&token(1), &team(), NOW).expect("usable");
        assert!(found.is_used());
    }

    #[test]
    fn nothing_is_said_of_tokens_before_all_are_known() {
        let directory = after(&[created(1), revoked(2)]);
        directory.begin_anew();
        apply(&directory, 1, &[created(1)]);
        for number in [1, 2, 3] {
            let found = directory.usable(&token(number), &team(), NOW);
            assert_eq!(found.err(), Some(VaultFailure::NoLease), "{number}");
        }
        directory.complete();
        assert!(directory.usable(&token(1), &team(), NOW).is_ok());
        let found = directory.usable(&token(2), &team(), NOW);
        assert!(matches!(found, Err(VaultFailure::Unknown(_))), "{found:?}");
    }

    #[test]
    fn revoked_tokens_take_bounded_memory() {
        let directory = Directory::default();
        directory.complete();
        let count = MAX_REVOKED as u128 + 10;
        let events: Vec<_> = (0..count).map(revoked).collect();
        apply(&directory, 1, &events);
        let state = directory.lock();
        assert_eq!(state.revoked.len(), MAX_REVOKED);
        assert_eq!(state.revoked_in_order.len(), MAX_REVOKED);
    }
}
