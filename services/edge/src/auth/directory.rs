//! The directory: every team with its keys and members, in memory.

mod apps;
mod invited;
mod organizations;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

pub use apps::{AppRecognition, AppStanding};
use parking_lot::RwLock;
use waybill_domain::access::Aggregate;
use waybill_domain::access::email::EmailHash;
use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES, KeyMac, is_accepted_brand};
use waybill_domain::access::plan::{Catalogue, Plan};
use waybill_domain::access::role::Role;
use waybill_domain::access::session::Session;
use waybill_domain::access::team::{Key, KeyStatus, Team, TeamCommand, TeamRefusal};
use waybill_domain::access::user::User;
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, ControlEvent, OutsideAccount};
use waybill_domain::id::{
    AppId, Environment, KeyId, OperationId, ScheduleId, SessionId, TeamId, UserId,
};
use waybill_domain::operation::Operation;
use waybill_domain::schedule::Schedule;
use waybill_domain::time::Timestamp;
use waybill_log::Closes;

use super::grants::Grants;
use super::operations::Operations;
use super::people::People;
use super::schedules::Schedules;
use invited::Invited;
use organizations::Slugs;
use waybill_commands::Pepper;
use waybill_commands::entropy;

/// A key that was recognised.
#[derive(Debug, Clone)]
pub struct Known {
    pub key: Arc<Key>,
    /// Its team, in the key's environment.
    pub team: TeamId,
    /// What the team may use.
    pub plan: Arc<Plan>,
}

/// What looking an API key up leads to.
#[derive(Debug, Clone)]
pub enum Recognition {
    /// It is valid.
    Known(Known),
    /// It was a valid key, and has expired or was revoked.
    Ended(Known),
    /// Not a valid key. Malformed and unknown keys are reported alike, so that a caller learns nothing.
    Refused,
    /// It may be valid, but this gateway lacks the pepper that it was hashed under.
    PepperMissing,
}

/// All teams. Read on every request, written when a team changes.
pub struct Directory {
    plans: Arc<Catalogue>,
    /// Held for a look-up or one change at a time, never across an await.
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    teams: HashMap<TeamId, TeamEntry>,
    /// The team of each key.
    keys: HashMap<KeyId, TeamId>,
    slugs: Slugs,
    /// Which teams a person belongs to.
    teams_of: HashMap<UserId, Vec<TeamId>>,
    people: People,
    /// The team of each application.
    apps: HashMap<AppId, TeamId>,
    invited: Invited,
    grants: Grants,
    operations: Operations,
    schedules: Schedules,
    /// The key-encryption key that was introduced last.
    kek: Option<Arc<str>>,
    /// What is closed until this gateway understands a record that may have taken rights away.
    closed: HashSet<Closes>,
}

struct TeamEntry {
    team: Team,
    plan: Arc<Plan>,
    test: TeamId,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new(plans: Arc<Catalogue>) -> Self {
        Self {
            plans,
            inner: RwLock::default(),
        }
    }

    /// Applies an event. Applying it once more changes nothing.
    pub fn apply(&self, event: &ControlEvent) {
        let mut inner = self.inner.write();
        inner.apply(event, &self.plans);
    }

    /// Replaces everything by the state that these events lead to.
    pub fn restore<'a>(&self, events: impl IntoIterator<Item = &'a ControlEvent>) {
        let mut restored = Inner::default();
        for event in events {
            restored.apply(event, &self.plans);
        }
        restored.grants.sweep(entropy::now());
        *self.inner.write() = restored;
    }

    /// Closes a team or a subject until its record is understood.
    pub fn close(&self, closes: Closes) {
        let mut inner = self.inner.write();
        inner.closed.insert(closes);
        #[expect(clippy::cast_precision_loss, reason = "a gauge; the count is small")]
        metrics::gauge!("waybill_access_closed").set(inner.closed.len() as f64);
    }

    /// Whether something that may have taken rights away within that boundary is not understood here.
    #[must_use]
    pub fn is_closed(&self, boundary: &Boundary) -> bool {
        self.read(|inner| {
            // Nearly always the set is empty, and no key is built to look it up by.
            !inner.closed.is_empty()
                && inner.closed.contains(&match boundary {
                    Boundary::Team(team) => Closes::Team(team.clone()),
                    // Of these the filter is the one subject that all of its events stand on.
                    other => Closes::Subject(other.filter()),
                })
        })
    }

    /// Looks an API key up. One MAC is computed in every case, so that the time tells nothing about the key.
    #[must_use]
    pub fn recognise(
        &self,
        presented: &str,
        pepper: &Pepper,
        brands: &[String],
        now: Timestamp,
    ) -> Recognition {
        let parsed = ApiKey::parse(presented).filter(|key| is_accepted_brand(key.brand(), brands));
        let Some(parsed) = parsed else {
            StandIn::compare(None);
            return Recognition::Refused;
        };
        let Some(known) = self.candidate(&parsed) else {
            StandIn::compare(Some(&parsed));
            return Recognition::Refused;
        };
        let created = &known.key.created;
        let Some(secret) = pepper.of(created.pepper_version) else {
            tracing::error!(
                key = %created.key,
                version = created.pepper_version,
                "a key was made under a pepper that this gateway does not have"
            );
            return Recognition::PepperMissing;
        };
        let matches = match &known.key.mac {
            Some(mac) => parsed.matches(mac, secret, &created.team),
            None => {
                StandIn::compare(Some(&parsed));
                false
            }
        };
        match known.key.status(now) {
            _ if !matches => Recognition::Refused,
            KeyStatus::Active => Recognition::Known(known),
            _ => Recognition::Ended(known),
        }
    }

    fn candidate(&self, key: &ApiKey) -> Option<Known> {
        self.read(|inner| {
            let team = inner.keys.get(key.id())?;
            let entry = inner.teams.get(team)?;
            let found = entry.team.keys.get(key.id())?;
            let team = match key.environment() {
                Environment::Live => team,
                Environment::Test => &entry.test,
            };
            Some(Known {
                key: Arc::clone(found),
                team: team.clone(),
                plan: Arc::clone(&entry.plan),
            })
        })
    }

    /// A key by id, also one that is no longer valid.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.read(|inner| {
            let team = inner.keys.get(id)?;
            inner.teams.get(team)?.team.keys.get(id).cloned()
        })
    }

    /// Whether a key is still accepted.
    #[must_use]
    pub fn is_active(&self, id: &KeyId, now: Timestamp) -> bool {
        self.key(id)
            .is_some_and(|key| key.status(now) == KeyStatus::Active)
    }

    /// Reads a team, if it exists.
    pub fn with_team<T>(&self, id: &TeamId, look: impl FnOnce(&Team) -> T) -> Option<T> {
        self.read(|inner| inner.teams.get(id).map(|entry| look(&entry.team)))
    }

    /// What a team may use, when it exists.
    #[must_use]
    pub fn plan_of(&self, team: &TeamId) -> Option<Arc<Plan>> {
        self.read(|inner| inner.teams.get(team).map(|entry| Arc::clone(&entry.plan)))
    }

    /// The key-encryption key that the vault's data keys are to be sealed to; `None`: none was ever introduced.
    #[must_use]
    pub fn kek_in_force(&self) -> Option<Arc<str>> {
        self.read(|inner| inner.kek.clone())
    }

    /// All teams, for periodic work on each of them.
    #[must_use]
    pub fn teams(&self) -> Vec<TeamId> {
        self.read(|inner| inner.teams.keys().cloned().collect())
    }

    /// An operation by id, unless it was over long ago.
    #[must_use]
    pub fn operation(&self, id: &OperationId) -> Option<Arc<Operation>> {
        self.read(|inner| inner.operations.get(id))
    }

    /// The operations of a team in its environment, newest first: all that are not over, and the last ones that are.
    #[must_use]
    pub fn operations_of(&self, team: &TeamId) -> Vec<Arc<Operation>> {
        self.read(|inner| inner.operations.of_team(team))
    }

    /// The operations of all teams that are not over, oldest first.
    #[must_use]
    pub fn open_operations(&self) -> Vec<Arc<Operation>> {
        self.read(|inner| inner.operations.open())
    }

    /// A schedule by id, unless it was deleted.
    #[must_use]
    pub fn schedule(&self, id: &ScheduleId) -> Option<Arc<Schedule>> {
        self.read(|inner| inner.schedules.get(id))
    }

    /// The schedules of a team in its environment, newest first.
    #[must_use]
    pub fn schedules_of(&self, team: &TeamId) -> Vec<Arc<Schedule>> {
        self.read(|inner| inner.schedules.of_team(team))
    }

    /// How many schedules a team has in its environment.
    #[must_use]
    pub fn count_schedules(&self, team: &TeamId) -> usize {
        self.read(|inner| inner.schedules.count(team))
    }

    /// The schedules of all teams.
    #[must_use]
    pub fn schedules(&self) -> Vec<Arc<Schedule>> {
        self.read(|inner| inner.schedules.all())
    }

    /// The schedules of all teams that have changed or are gone since this was last called. One caller in a process may do so.
    #[must_use]
    pub fn take_changed_schedules(&self) -> HashSet<ScheduleId> {
        self.inner.write().schedules.take_changed()
    }

    /// Those could not be looked at: they are among the changed ones again.
    pub fn changed_again(&self, schedules: HashSet<ScheduleId>) {
        self.inner.write().schedules.changed_again(schedules);
    }

    /// Whether any team has a schedule.
    #[must_use]
    pub fn has_schedules(&self) -> bool {
        self.read(|inner| !inner.schedules.is_empty())
    }

    /// Up to when all instants of all schedules have outcomes; `None`: that was never noted.
    #[must_use]
    pub fn schedules_reached(&self) -> Option<Timestamp> {
        self.read(|inner| inner.schedules.reached)
    }

    /// Whether a command to a team would be refused, as far as this gateway knows; asked before anything is done for it. The log decides.
    pub fn would_refuse(
        &self,
        team: &TeamId,
        command: TeamCommand,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), TeamRefusal> {
        self.with_team(team, |team| team.decide(command, by, &self.plans, now))
            .unwrap_or(Err(TeamRefusal::NoSuchTeam))
            .map(drop)
    }

    /// The role of a person in a team.
    #[must_use]
    pub fn role_of(&self, user: &UserId, team: &TeamId) -> Option<Role> {
        self.with_team(team, |team| team.role_of(user)).flatten()
    }

    /// The teams that a person belongs to, by id.
    #[must_use]
    pub fn teams_of(&self, user: &UserId) -> Vec<TeamId> {
        self.read(|inner| inner.teams_of.get(user).cloned().unwrap_or_default())
    }

    /// Whoever has that address, confirmed or not.
    #[must_use]
    pub fn user_at(&self, address: &EmailHash) -> Option<Arc<User>> {
        self.read(|inner| inner.people.user_at(address))
    }

    /// A person by id.
    #[must_use]
    pub fn user(&self, id: &UserId) -> Option<Arc<User>> {
        self.read(|inner| inner.people.user(id))
    }

    /// Whoever has that account with an outside issuer.
    #[must_use]
    pub fn user_outside(&self, account: &OutsideAccount) -> Option<Arc<User>> {
        self.read(|inner| inner.people.user_outside(account))
    }

    /// A session by id, also one that has ended.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.read(|inner| inner.people.session(id))
    }

    /// A session that counts now, and whose it is.
    #[must_use]
    pub fn standing_session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Option<(Arc<Session>, Arc<User>)> {
        self.read(|inner| inner.people.standing(id, now))
    }

    /// The sessions of a person that count now, newest first.
    #[must_use]
    pub fn standing_sessions(&self, user: &UserId, now: Timestamp) -> Vec<Arc<Session>> {
        self.read(|inner| inner.people.standing_sessions(user, now))
    }

    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read())
    }
}

impl Inner {
    fn apply(&mut self, event: &ControlEvent, plans: &Catalogue) {
        match event.boundary() {
            Some(Boundary::Team(team)) => self.apply_to_team(&team, event, plans),
            Some(Boundary::User(address)) => self.people.apply_to_user(&address, event),
            Some(Boundary::Session(id)) => self.people.apply_to_session(&id, event),
            Some(Boundary::Grant(id)) => self.grants.apply(&id, event),
            Some(Boundary::Operation(id)) => self.operations.apply(&id, event),
            Some(Boundary::Schedule(id)) => self.schedules.apply(&id, event),
            None => {
                if let ControlEvent::SchedulesReached(e) = event {
                    self.schedules.reached = self.schedules.reached.max(Some(e.to));
                }
                if let ControlEvent::VaultKekIntroduced(e) = event {
                    self.kek = Some(e.kek.as_str().into());
                }
            }
        }
    }

    fn apply_to_team(&mut self, id: &TeamId, event: &ControlEvent, plans: &Catalogue) {
        if let ControlEvent::KeyCreated(e) = event {
            // The first team to use a public part keeps it.
            let owner = self.keys.entry(e.key.clone()).or_insert_with(|| id.clone());
            if owner != id {
                return;
            }
        }
        self.slugs.apply(event);
        if let ControlEvent::AppCreated(e) = event {
            self.apps.entry(e.app.clone()).or_insert_with(|| id.clone());
        }
        let entry = self
            .teams
            .entry(id.clone())
            .or_insert_with(|| TeamEntry::new(id, plans));
        self.invited.apply(&entry.team, event);
        entry.team.evolve(event);
        match event {
            ControlEvent::TeamCreated(_) | ControlEvent::TeamPlanChanged(_) => {
                if let Some(info) = &entry.team.info {
                    entry.plan = Arc::clone(plans.plan(&info.plan));
                }
            }
            ControlEvent::MemberJoined(e) => {
                let teams = self.teams_of.entry(e.user.clone()).or_default();
                if let Err(at) = teams.binary_search(id) {
                    teams.insert(at, id.clone());
                }
            }
            ControlEvent::MemberRemoved(e) => {
                if let Some(teams) = self.teams_of.get_mut(&e.user) {
                    teams.retain(|team| team != id);
                }
            }
            ControlEvent::TeamDeleted(_) => {
                for teams in self.teams_of.values_mut() {
                    teams.retain(|team| team != id);
                }
            }
            _ => {}
        }
    }
}

impl TeamEntry {
    fn new(id: &TeamId, plans: &Catalogue) -> Self {
        Self {
            team: Team::default(),
            plan: Arc::clone(plans.of_unknown()),
            test: id.in_environment(Environment::Test),
        }
    }
}

/// What an unknown key is hashed against, so that it takes as long as a known one.
struct StandIn {
    key: ApiKey,
    mac: KeyMac,
    team: TeamId,
}

impl StandIn {
    const PEPPER: [u8; 32] = [0; 32];

    fn compare(presented: Option<&ApiKey>) {
        static STAND_IN: LazyLock<Option<StandIn>> = LazyLock::new(|| {
            let team = TeamId::new(Timestamp(0), u128::MAX);
            let key = ApiKey::generate("wb", Environment::Live, &[1; ENTROPY_BYTES])?;
            let mac = key.mac(&StandIn::PEPPER, &team);
            Some(StandIn { key, mac, team })
        });
        if let Some(stand_in) = &*STAND_IN {
            let key = presented.unwrap_or(&stand_in.key);
            std::hint::black_box(key.matches(&stand_in.mac, &Self::PEPPER, &stand_in.team));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::access::scope::Scope;
    use waybill_domain::event::{KeyCreated, KeyRevoked, RevocationReason, TeamCreated};

    const NOW: Timestamp = Timestamp(1_000);

    fn pepper() -> Pepper {
        Pepper::new(1, vec![7; 32]).expect("long enough")
    }

    fn look(directory: &Directory, text: &str, pepper: &Pepper) -> Recognition {
        directory.recognise(text, pepper, &["wb".to_owned()], NOW)
    }

    fn is_known(directory: &Directory, text: &str) -> bool {
        matches!(look(directory, text, &pepper()), Recognition::Known(_))
    }

    fn with_key_of(environment: Environment) -> (Directory, ApiKey, KeyCreated) {
        let directory = Directory::new(Arc::clone(Catalogue::builtin()));
        let team = TeamId::new(Timestamp(1), 1);
        let key = ApiKey::generate("wb", environment, &[9; ENTROPY_BYTES]).expect("a key");
        let created = KeyCreated {
            key: key.id().clone(),
            team: team.clone(),
            name: "ci".into(),
            prefix: key.prefix().into(),
            last4: key.last4().into(),
            scopes: vec![Scope::TasksRead],
            mac: key.mac(pepper().bytes(), &team).to_hex(),
            pepper_version: 1,
            expires_at: None,
            sources: Vec::new(),
            queues: Vec::new(),
            rotated_from: None,
            created_by: None,
            request: None,
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

    fn with_key() -> (Directory, ApiKey, KeyCreated) {
        with_key_of(Environment::Live)
    }

    #[test]
    fn a_revoked_key_stays_revoked_when_its_creation_is_read_again() {
        let (directory, key, created) = with_key();
        assert!(is_known(&directory, key.reveal()));
        let revoked = KeyRevoked {
            key: created.key.clone(),
            team: created.team.clone(),
            reason: RevocationReason::Requested,
            at: Timestamp(3),
        };
        directory.apply(&ControlEvent::KeyRevoked(revoked));
        directory.apply(&ControlEvent::KeyCreated(created.clone()));
        assert!(!is_known(&directory, key.reveal()));
        assert!(!directory.is_active(&created.key, NOW));
        let keys = directory.with_team(&created.team, |team| team.keys.len());
        assert_eq!(keys, Some(1));
    }

    #[test]
    fn another_pepper_secret_or_brand_is_a_stranger() {
        let (directory, key, _) = with_key();
        let other = Pepper::new(1, vec![8; 32]).expect("long enough");
        assert!(matches!(
            look(&directory, key.reveal(), &other),
            Recognition::Refused
        ));
        assert!(!is_known(&directory, "wb_live_x"));
        let stranger = ApiKey::generate("wb", Environment::Live, &[3; ENTROPY_BYTES]);
        assert!(!is_known(&directory, stranger.expect("a key").reveal()));
        let brands = ["sp".to_owned()];
        assert!(matches!(
            directory.recognise(key.reveal(), &pepper(), &brands, NOW),
            Recognition::Refused
        ));
    }

    #[test]
    fn a_missing_pepper_is_no_refusal() {
        let (directory, key, _) = with_key();
        let later = Pepper::new(2, vec![7; 32]).expect("long enough");
        assert!(matches!(
            look(&directory, key.reveal(), &later),
            Recognition::PepperMissing
        ));
    }

    #[test]
    fn a_test_key_belongs_to_the_test_environment() {
        let (directory, key, created) = with_key_of(Environment::Test);
        let Recognition::Known(known) = look(&directory, key.reveal(), &pepper()) else {
            panic!("known");
        };
        assert_eq!(known.team.environment(), Environment::Test);
        assert_eq!(known.team.base(), created.team);
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
        let Recognition::Known(known) = look(&directory, key.reveal(), &pepper()) else {
            panic!("still ours");
        };
        assert_eq!(known.key.created.team, created.team);
    }
}
