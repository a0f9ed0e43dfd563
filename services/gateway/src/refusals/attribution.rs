//! Whose request it is, found out on its way in and asked on its way out.

use std::sync::{Arc, OnceLock};

use waybill_domain::actor::Actor;
use waybill_domain::id::TeamId;

/// Whose request it is. Clones share it; empty until a credential was recognised.
#[derive(Debug, Clone, Default)]
pub struct Attribution(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    team: OnceLock<TeamId>,
    credential: OnceLock<Actor>,
}

impl Attribution {
    /// The team whose credential it is or that it is about; what is found first stays.
    pub(crate) fn to_team(&self, team: &TeamId) {
        self.0.team.get_or_init(|| team.base());
    }

    /// The credential that it came with.
    pub(crate) fn to_credential(&self, credential: Actor) {
        // It stays what it was.
        let _ = self.0.credential.set(credential);
    }

    /// What was found, if anything was.
    pub(crate) fn found(&self) -> Option<(Option<TeamId>, Option<Actor>)> {
        let team = self.0.team.get().cloned();
        let credential = self.0.credential.get().cloned();
        (team.is_some() || credential.is_some()).then_some((team, credential))
    }
}
