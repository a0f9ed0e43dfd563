//! The hot copy: every team and every key that exists, in memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use waybill_domain::access::key::{ApiKey, KeyMac};
use waybill_domain::access::plan::PlanLimits;
use waybill_domain::access::scope::Scope;
use waybill_domain::event::{ControlEvent, KeyCreated, TeamCreated};
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;

use crate::access::Pepper;

/// A key that was recognised.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which.
    pub key: Arc<KeyView>,
    /// What its team may use.
    pub plan: PlanLimits,
}

/// A key as its events tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// What is stored of it.
    pub created: KeyCreated,
    /// Since when it is accepted no more.
    pub revoked_at: Option<Timestamp>,
    mac: Option<KeyMac>,
}

impl KeyView {
    pub(crate) fn new(created: KeyCreated, revoked_at: Option<Timestamp>) -> Self {
        // A MAC that cannot be read matches nothing.
        let mac = KeyMac::from_hex(&created.mac);
        Self {
            created,
            revoked_at,
            mac,
        }
    }

    /// Whether it may do that.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.created.scopes.contains(&scope)
    }
}

/// All teams and keys. Read on every request, written when a team or key changes.
#[derive(Default)]
pub struct Directory {
    /// Held for a look-up or one change at a time, never across an await.
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    teams: HashMap<TeamId, TeamView>,
    keys: HashMap<KeyId, Arc<KeyView>>,
    keys_of: HashMap<TeamId, Vec<KeyId>>,
}

struct TeamView {
    created: TeamCreated,
    plan: PlanLimits,
}

impl Directory {
    /// Takes in what happened. The same event twice changes nothing the second time.
    pub fn apply(&self, event: &ControlEvent) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            ControlEvent::TeamCreated(e) => inner.put_team(e.clone()),
            ControlEvent::KeyCreated(e) => {
                // The first team to use a public part keeps it, and a revoked key stays revoked.
                if !inner.keys.contains_key(&e.key) {
                    inner.put_key(KeyView::new(e.clone(), None));
                }
            }
            ControlEvent::KeyRevoked(e) => {
                if let Some(key) = inner.keys.get_mut(&e.key)
                    && key.revoked_at.is_none()
                    && key.created.team == e.team
                {
                    Arc::make_mut(key).revoked_at = Some(e.at);
                }
            }
        }
    }

    pub(crate) fn restore(&self, teams: Vec<TeamCreated>, keys: Vec<KeyView>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        *inner = Inner::default();
        teams.into_iter().for_each(|team| inner.put_team(team));
        keys.into_iter().for_each(|key| inner.put_key(key));
    }

    /// Whose key this is, when it is one and is accepted. Takes the same steps whether it is known or not, so that time tells nothing.
    #[must_use]
    pub fn recognise(&self, presented: &str, pepper: &Pepper) -> Option<Known> {
        let Some(parsed) = ApiKey::parse(presented) else {
            let _ =
                stand_in().is_some_and(|(key, mac, team)| key.matches(mac, pepper.bytes(), team));
            return None;
        };
        let found = self.key(parsed.id());
        let matches = match found.as_deref() {
            Some(KeyView {
                created,
                mac: Some(mac),
                ..
            }) => parsed.matches(mac, pepper.bytes(), &created.team),
            _ => {
                let _ = stand_in()
                    .is_some_and(|(_, mac, team)| parsed.matches(mac, pepper.bytes(), team));
                false
            }
        };
        let key = found.filter(|key| {
            matches && key.revoked_at.is_none() && key.created.pepper_version == pepper.version()
        })?;
        let plan = self.plan_of(&key.created.team)?;
        Some(Known { key, plan })
    }

    /// A key by id, revoked or not.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<Arc<KeyView>> {
        self.read(|inner| inner.keys.get(id).cloned())
    }

    /// Whether a key is still accepted.
    #[must_use]
    pub fn is_active(&self, id: &KeyId) -> bool {
        self.read(|inner| {
            inner
                .keys
                .get(id)
                .is_some_and(|key| key.revoked_at.is_none())
        })
    }

    /// All keys of a team, oldest first, revoked ones too.
    #[must_use]
    pub fn keys_of(&self, team: &TeamId) -> Vec<Arc<KeyView>> {
        let mut keys: Vec<_> = self.read(|inner| {
            let ids = inner.keys_of.get(team).map_or(&[][..], Vec::as_slice);
            ids.iter()
                .filter_map(|id| inner.keys.get(id).cloned())
                .collect()
        });
        keys.sort_by(|a, b| (a.created.at, &a.created.key).cmp(&(b.created.at, &b.created.key)));
        keys
    }

    /// A team, when it exists.
    #[must_use]
    pub fn team(&self, id: &TeamId) -> Option<TeamCreated> {
        self.read(|inner| inner.teams.get(id).map(|team| team.created.clone()))
    }

    fn plan_of(&self, team: &TeamId) -> Option<PlanLimits> {
        self.read(|inner| inner.teams.get(team).map(|team| team.plan))
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn put_team(&mut self, created: TeamCreated) {
        let plan = PlanLimits::of(&created.plan);
        self.teams
            .insert(created.team.clone(), TeamView { created, plan });
    }

    fn put_key(&mut self, key: KeyView) {
        let (id, team) = (key.created.key.clone(), key.created.team.clone());
        self.keys_of.entry(team).or_default().push(id.clone());
        self.keys.insert(id, Arc::new(key));
    }
}

/// What is hashed when there is no record to hash against.
fn stand_in() -> Option<&'static (ApiKey, KeyMac, TeamId)> {
    use std::sync::LazyLock;
    use waybill_domain::access::key::{ENTROPY_BYTES, Environment};
    static STAND_IN: LazyLock<Option<(ApiKey, KeyMac, TeamId)>> = LazyLock::new(|| {
        let team = TeamId::new(Timestamp(0), u128::MAX);
        let key = ApiKey::generate("wb", Environment::Live, &[1; ENTROPY_BYTES])?;
        let mac = key.mac(&[0; 32], &team);
        Some((key, mac, team))
    });
    STAND_IN.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::access::key::{ENTROPY_BYTES, Environment};
    use waybill_domain::event::KeyRevoked;

    fn pepper() -> Pepper {
        Pepper::new(1, vec![7; 32]).expect("long enough")
    }

    fn with_key() -> (Directory, ApiKey, KeyCreated) {
        let directory = Directory::default();
        let team = TeamId::new(Timestamp(1), 1);
        let key = ApiKey::generate("wb", Environment::Live, &[9; ENTROPY_BYTES]).expect("a key");
        let created = KeyCreated {
            key: key.id().clone(),
            team: team.clone(),
            name: "ci".into(),
            prefix: key.prefix().into(),
            last4: key.last4().into(),
            scopes: vec![Scope::TasksRead],
            mac: key.mac(pepper().bytes(), &team).to_hex(),
            pepper_version: 1,
            at: Timestamp(2),
        };
        directory.apply(&ControlEvent::TeamCreated(TeamCreated {
            team,
            name: "Ours".into(),
            plan: "pro".into(),
            at: Timestamp(1),
        }));
        directory.apply(&ControlEvent::KeyCreated(created.clone()));
        (directory, key, created)
    }

    #[test]
    fn a_revoked_key_stays_revoked_when_its_creation_is_read_again() {
        let (directory, key, created) = with_key();
        assert!(directory.recognise(key.reveal(), &pepper()).is_some());
        let revoked = KeyRevoked {
            key: created.key.clone(),
            team: created.team.clone(),
            at: Timestamp(3),
        };
        directory.apply(&ControlEvent::KeyRevoked(revoked));
        directory.apply(&ControlEvent::KeyCreated(created.clone()));
        assert!(directory.recognise(key.reveal(), &pepper()).is_none());
        assert!(!directory.is_active(&created.key));
        assert_eq!(directory.keys_of(&created.team).len(), 1);
    }

    #[test]
    fn another_pepper_and_another_secret_are_strangers() {
        let (directory, key, _) = with_key();
        let other = Pepper::new(1, vec![8; 32]).expect("long enough");
        assert!(directory.recognise(key.reveal(), &other).is_none());
        assert!(directory.recognise("wb_live_x", &pepper()).is_none());
        let stranger =
            ApiKey::generate("wb", Environment::Live, &[3; ENTROPY_BYTES]).expect("a key");
        assert!(directory.recognise(stranger.reveal(), &pepper()).is_none());
    }

    #[test]
    fn another_team_cannot_take_over_a_public_part() {
        let (directory, key, created) = with_key();
        let other = TeamId::new(Timestamp(5), 5);
        directory.apply(&ControlEvent::KeyCreated(KeyCreated {
            mac: key.mac(pepper().bytes(), &other).to_hex(),
            team: other,
            ..created.clone()
        }));
        let known = directory
            .recognise(key.reveal(), &pepper())
            .expect("still ours");
        assert_eq!(known.key.created.team, created.team);
    }
}
