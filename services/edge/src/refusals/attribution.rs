//! The team and credential of a request, found on its way in and needed on its way out.

use std::sync::{Arc, OnceLock};

use waybill_domain::access::scope::Scope;
use waybill_domain::actor::Actor;
use waybill_domain::id::{KeyId, TeamId};

/// The team and credential of a request. Clones share it; empty until a credential was recognised.
#[derive(Debug, Clone, Default)]
pub struct Attribution(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    team: OnceLock<TeamId>,
    credential: OnceLock<Actor>,
    key: OnceLock<UsedKey>,
    scope: OnceLock<Scope>,
}

/// An API key that a request was made with.
#[derive(Debug, Clone)]
pub struct UsedKey {
    /// The team of the key, in its environment.
    pub team: TeamId,
    pub key: KeyId,
}

impl Attribution {
    /// The team whose credential it is or that it is about; what is found first stays.
    pub fn to_team(&self, team: &TeamId) {
        self.0.team.get_or_init(|| team.base());
    }

    /// The credential that it came with.
    pub fn to_credential(&self, credential: Actor) {
        // Set only once: the first credential stays.
        let _ = self.0.credential.set(credential);
    }

    /// The API key whose use it is.
    pub fn to_key(&self, team: &TeamId, key: &KeyId) {
        self.0.key.get_or_init(|| UsedKey {
            team: team.clone(),
            key: key.clone(),
        });
    }

    /// The scope that let it through.
    pub fn to_scope(&self, scope: Scope) {
        // Set only once: a route needs one.
        let _ = self.0.scope.set(scope);
    }

    /// The API key whose use it is, and the scope that let it through.
    pub fn used(&self) -> Option<(&UsedKey, Option<Scope>)> {
        Some((self.0.key.get()?, self.0.scope.get().copied()))
    }

    /// What was found, if anything was.
    pub fn found(&self) -> Option<(Option<TeamId>, Option<Actor>)> {
        let team = self.0.team.get().cloned();
        let credential = self.0.credential.get().cloned();
        (team.is_some() || credential.is_some()).then_some((team, credential))
    }
}
