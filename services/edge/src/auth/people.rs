//! People and their sessions, in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use waybill_domain::access::Aggregate as _;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::session::Session;
use waybill_domain::access::user::User;
use waybill_domain::event::{ControlEvent, OutsideAccount};
use waybill_domain::id::{SessionId, UserId};
use waybill_domain::time::Timestamp;

/// Expired sessions are swept whenever this many have begun since the last sweep.
const SWEEP_AFTER: usize = 1024;

/// People by id, address and outside account, and their sessions.
#[derive(Debug, Default)]
pub(super) struct People {
    users: HashMap<EmailHash, Arc<User>>,
    addresses: HashMap<UserId, EmailHash>,
    outside: HashMap<OutsideAccount, EmailHash>,
    sessions: HashMap<SessionId, Arc<Session>>,
    sessions_of: HashMap<UserId, BTreeSet<SessionId>>,
    begun_since_sweep: usize,
}

impl People {
    pub(super) fn apply_to_user(&mut self, address: &EmailHash, event: &ControlEvent) {
        // Anybody can ask for a letter to any address: nothing is kept of those of whom nothing is known.
        let asks = matches!(event, ControlEvent::UserResetRequested(_));
        if asks && !self.users.contains_key(address) {
            return;
        }
        let user = self.users.entry(address.clone()).or_default();
        let user = Arc::make_mut(user);
        user.evolve(event);
        if let Some(who) = user.who.clone() {
            self.note_address(who.id, address);
        }
        if let ControlEvent::UserIdentityLinked(e) = event {
            for account in &e.accounts {
                // An outside account stays with whoever linked it first.
                self.outside
                    .entry(account.clone())
                    .or_insert_with(|| address.clone());
            }
        }
    }

    /// A person keeps the first address, but for the local owner, whose reserved one gives way to the one that they give.
    fn note_address(&mut self, id: UserId, address: &EmailHash) {
        let reserved = |address: &EmailHash| {
            let who = self.users.get(address).and_then(|user| user.who.as_ref());
            who.is_some_and(|who| Email::is_of_local_owner(&who.email))
        };
        let known = self.addresses.get(&id);
        if known.is_none_or(|known| reserved(known) && !reserved(address)) {
            self.addresses.insert(id, address.clone());
        }
    }

    /// An ended session is remembered until it would have expired: its first event, read again, must not revive it.
    pub(super) fn apply_to_session(&mut self, id: &SessionId, event: &ControlEvent) {
        let session = self.sessions.entry(id.clone()).or_default();
        Arc::make_mut(session).evolve(event);
        if let ControlEvent::SessionStarted(e) = event {
            self.sessions_of
                .entry(e.user.clone())
                .or_default()
                .insert(id.clone());
            self.begun_since_sweep += 1;
            if self.begun_since_sweep >= SWEEP_AFTER {
                self.sweep(e.at);
            }
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        self.begun_since_sweep = 0;
        let sessions_of = &mut self.sessions_of;
        self.sessions.retain(|id, session| {
            let over = session.is_history(now);
            if over
                && let Some(started) = &session.started
                && let Some(ids) = sessions_of.get_mut(&started.user)
            {
                ids.remove(id);
            }
            !over
        });
        sessions_of.retain(|_, ids| !ids.is_empty());
    }

    pub(super) fn user_at(&self, address: &EmailHash) -> Option<Arc<User>> {
        self.users.get(address).cloned()
    }

    pub(super) fn user(&self, id: &UserId) -> Option<Arc<User>> {
        self.user_at(self.addresses.get(id)?)
    }

    pub(super) fn user_outside(&self, account: &OutsideAccount) -> Option<Arc<User>> {
        self.user_at(self.outside.get(account)?)
    }

    pub(super) fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions.get(id).cloned()
    }

    /// The sessions of a person that still count, newest first.
    pub(super) fn standing_sessions(&self, user: &UserId, now: Timestamp) -> Vec<Arc<Session>> {
        let ids = self.sessions_of.get(user).into_iter().flatten().rev();
        let standing = ids.filter_map(|id| self.standing(id, now));
        standing.map(|(session, _)| session).collect()
    }

    /// A session that counts now, and whose it is: it lasts, and is of the person's present generation.
    pub(super) fn standing(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Option<(Arc<Session>, Arc<User>)> {
        let session = self.sessions.get(id)?;
        let started = session.live(now)?;
        let user = self.user(&started.user)?;
        let (_, account) = user.confirmed()?;
        (account.generation == started.generation).then(|| (Arc::clone(session), user))
    }
}
