//! Plans: what a team may use. They are data (`ops/plans/plans.toml` is compiled in as the default), read once into a [`Catalogue`].
//!
//! A plan is known by its name; one that nobody knows is as narrow as the catalogue's default plan, never unlimited.

mod parse;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use parse::CatalogueError;

use crate::access::scope::Api;

/// The plan of a team that names none, in the built-in catalogue.
pub const DEFAULT_PLAN: &str = "free";
/// The plan of the bootstrap team: trying and measuring are not throttled.
pub const UNLIMITED_PLAN: &str = "enterprise";

/// The plans of the built-in catalogue.
pub const ALL_PLANS: [&str; 3] = [DEFAULT_PLAN, "pro", UNLIMITED_PLAN];

const BUILTIN: &str = include_str!("../../../../ops/plans/plans.toml");

/// Whose requests a policy counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// All credentials of a team in one environment.
    Team,
    /// One credential.
    Key,
    /// One source network: an IPv4 address or an IPv6 /64.
    Ip,
    /// One account that somebody tries to use, from wherever: a mail address, an OAuth client.
    Account,
    /// One account that somebody tries to use, from one source network.
    AccountNetwork,
}

impl PolicyScope {
    /// As catalogues name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Key => "key",
            Self::Ip => "ip",
            Self::Account => "account",
            Self::AccountNetwork => "account-network",
        }
    }
}

/// `q` requests in every window of `w` seconds. Windows are aligned: they begin at multiples of `w` since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// As headers, errors and counters name it: `a-z 0-9 -`, unique in its plan.
    pub name: Arc<str>,
    /// Whose requests are counted together.
    pub scope: PolicyScope,
    /// Requests in a window.
    pub quota: NonZeroU32,
    /// Length of a window in seconds.
    pub window_s: NonZeroU32,
    /// Leave out what the window before used, in proportion to how much of it lies in the last `window_s` seconds.
    pub smooth: bool,
}

impl Policy {
    /// Requests in a window.
    #[must_use]
    pub fn q(&self) -> u64 {
        u64::from(self.quota.get())
    }

    /// Length of a window.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.window_s.get()))
    }

    /// How long a gateway keeps credits that it does not use: a twelfth of the window, at least one second and at most five.
    #[must_use]
    pub fn lease(&self) -> Duration {
        (self.window() / 12).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }
}

/// What a team on the plan may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub name: Arc<str>,
    /// Longest `maxWaitTime` of a task.
    pub max_wait: Duration,
    /// Most live keys of the team; `None`: any number.
    pub max_keys: Option<u32>,
    /// Most members of the team; `None`: any number.
    pub max_members: Option<u32>,
    /// Most tokens of the team in the vault; `None`: as many as there may be at all.
    pub max_tokens: Option<u32>,
    /// Most queues that the team names within a day, on one gateway; `None`: any number.
    pub max_queues: Option<u32>,
    /// A key must expire within this; `None`: it need not.
    pub max_key_lifetime: Option<Duration>,
    /// May its credentials call the API at all? Keys stay when a team loses this.
    pub api_access: bool,
    /// Which APIs they may call, if any.
    pub api_faces: Vec<Api>,
    /// Limits of requests, of scope team or key; empty: unlimited.
    pub policies: Vec<Arc<Policy>>,
}

impl Plan {
    /// Whether its credentials may call that API.
    #[must_use]
    pub fn has(&self, api: Api) -> bool {
        self.api_access && self.api_faces.contains(&api)
    }

    /// Nothing is counted.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.policies.is_empty()
    }
}

/// What is limited before anybody is known, or more tightly than a plan does, because it can be guessed or flooded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// A password is tried.
    LogIn,
    /// An account is asked for.
    SignUp,
    /// A mail with a secret is asked for.
    Reset,
    /// The OAuth token endpoint.
    Token,
    /// An API key is made.
    KeyCreation,
    /// A partner reports a leaked key.
    LeakReport,
    /// Somebody is invited to a team, by mail.
    Invitation,
}

impl Guard {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::LogIn,
        Self::SignUp,
        Self::Reset,
        Self::Token,
        Self::KeyCreation,
        Self::LeakReport,
        Self::Invitation,
    ];

    /// As catalogues name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogIn => "log-in",
            Self::SignUp => "sign-up",
            Self::Reset => "reset",
            Self::Token => "token",
            Self::KeyCreation => "key-creation",
            Self::LeakReport => "leak-report",
            Self::Invitation => "invitation",
        }
    }
}

/// All plans of an installation, and what holds before a plan is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
    default: Arc<Plan>,
    failures: Arc<Policy>,
    person: Arc<Policy>,
    guards: BTreeMap<Guard, Vec<Arc<Policy>>>,
}

impl Catalogue {
    /// Reads a catalogue. Strict: an unknown field, a missing one or a value out of its range is an error that names it.
    pub fn parse(toml: &str) -> Result<Self, CatalogueError> {
        parse::catalogue(toml)
    }

    /// The catalogue that is compiled in.
    #[must_use]
    pub fn builtin() -> &'static Arc<Self> {
        static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
            let parsed = Catalogue::parse(BUILTIN);
            #[expect(clippy::expect_used, reason = "a constant, parsed by a test")]
            Arc::new(parsed.expect("the built-in catalogue is valid"))
        });
        &CATALOGUE
    }

    /// The plan of that name; the default plan when there is none.
    #[must_use]
    pub fn plan(&self, name: &str) -> &Arc<Plan> {
        self.plans.get(name).unwrap_or(&self.default)
    }

    /// The plan of that name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// The plan of a team that names none.
    #[must_use]
    pub fn default_plan(&self) -> &Arc<Plan> {
        &self.default
    }

    /// All plans, by name.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values()
    }

    /// Failed attempts to authenticate, per source network.
    #[must_use]
    pub fn failures(&self) -> &Arc<Policy> {
        &self.failures
    }

    /// Requests of one person that are about no team, or about a team that is not theirs.
    #[must_use]
    pub fn person(&self) -> &Arc<Policy> {
        &self.person
    }

    /// The policies of something worth guarding.
    #[must_use]
    pub fn guard(&self, guard: Guard) -> &[Arc<Policy>] {
        self.guards.get(&guard).map_or(&[], Vec::as_slice)
    }
}

/// The limits of a plan of the built-in catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Longest `maxWaitTime` of a task.
    pub max_wait: Duration,
}

impl PlanLimits {
    /// The limits of the plan of that name.
    #[must_use]
    pub fn of(plan: &str) -> Self {
        Self {
            max_wait: Catalogue::builtin().plan(plan).max_wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_plan_is_as_narrow_as_the_smallest() {
        let catalogue = Catalogue::builtin();
        assert_eq!(catalogue.plan("platinum"), catalogue.plan(DEFAULT_PLAN));
        assert_eq!(catalogue.find("platinum"), None);
        assert_eq!(PlanLimits::of("platinum"), PlanLimits::of(DEFAULT_PLAN));
    }

    #[test]
    fn the_built_in_plans_are_those_of_the_contract() {
        let catalogue = Catalogue::builtin();
        let names: Vec<&str> = catalogue.plans().map(|plan| &*plan.name).collect();
        let mut all = ALL_PLANS;
        all.sort_unstable();
        assert_eq!(names, all);
        let quotas = |name: &str| -> Vec<(u64, u64)> {
            let policies = &catalogue.plan(name).policies;
            policies
                .iter()
                .map(|policy| (policy.q(), policy.window().as_secs()))
                .collect()
        };
        let free = catalogue.plan("free");
        assert_eq!((free.max_keys, free.max_members), (Some(1), Some(2)));
        assert_eq!(free.max_wait, Duration::from_secs(30));
        assert_eq!(quotas("free"), [(60, 60)]);
        assert!(free.has(Api::Tasks) && !free.has(Api::Waitlists));
        let pro = catalogue.plan("pro");
        assert!(Api::ALL.into_iter().all(|api| pro.has(api)));
        assert_eq!((pro.max_keys, pro.max_members), (None, None));
        assert_eq!(pro.max_wait, Duration::from_secs(120));
        assert_eq!(quotas("pro"), [(600, 60)]);
        let enterprise = catalogue.plan(UNLIMITED_PLAN);
        assert!(enterprise.is_unlimited() && enterprise.api_access);
        assert_eq!(enterprise.max_wait, Duration::from_secs(3600));
        assert_eq!(catalogue.failures().scope, PolicyScope::Ip);
        for guard in Guard::ALL {
            assert!(!catalogue.guard(guard).is_empty(), "{guard:?}");
        }
    }
}
