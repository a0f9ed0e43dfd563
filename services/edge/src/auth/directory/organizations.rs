//! What the jobs API asks of the directory: slugs, limits, and keys of sessions.

use std::collections::HashMap;
use std::sync::Arc;

use waybill_domain::access::plan::jobs::JobsLimits;
use waybill_domain::access::team::KeyStatus;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{Environment, KeyId, TeamId};
use waybill_domain::time::Timestamp;

use super::{Directory, Known};

/// The team that took each slug.
#[derive(Debug, Default)]
pub(super) struct Slugs(HashMap<String, TeamId>);

impl Slugs {
    pub(super) fn apply(&mut self, event: &ControlEvent) {
        if let ControlEvent::TeamSlugTaken(e) = event {
            let taken = self.0.entry(e.slug.clone());
            taken.or_insert_with(|| e.team.clone());
        }
    }

    fn team_of(&self, slug: &str) -> Option<TeamId> {
        self.0.get(slug).cloned()
    }
}

impl Directory {
    /// A key that is valid now, by its id, for a session that was begun with it.
    #[must_use]
    pub fn known(&self, id: &KeyId, now: Timestamp) -> Option<Known> {
        self.read(|inner| {
            let team = inner.keys.get(id)?;
            let entry = inner.teams.get(team)?;
            let key = entry.team.keys.get(id)?;
            let team = match key.environment() {
                Environment::Live => team,
                Environment::Test => &entry.test,
            };
            (key.status(now) == KeyStatus::Active).then(|| Known {
                key: Arc::clone(key),
                team: team.clone(),
                plan: Arc::clone(&entry.plan),
            })
        })
    }

    /// What a team may use in the jobs API, when it exists.
    #[must_use]
    pub fn jobs_limits(&self, team: &TeamId) -> Option<JobsLimits> {
        self.with_team(team, |team| team.jobs_limits(&self.plans))
    }

    /// The team that has a slug.
    #[must_use]
    pub fn team_of_slug(&self, slug: &str) -> Option<TeamId> {
        self.read(|inner| inner.slugs.team_of(slug))
    }
}
