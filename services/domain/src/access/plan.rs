//! Plans: what a team may use. They are data, read once into a [`Catalogue`];
//! `ops/plans/plans.toml` is compiled in as the default.
//!
//! A team refers to its plan by name. An unknown name gets the limits of `free`, never unlimited use.

pub mod jobs;
mod parse;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use parse::CatalogueError;

use crate::access::scope::Api;

/// Plan of a team that is created without one, in the built-in catalogue.
pub const DEFAULT_PLAN: &str = "free";
/// Plan of the bootstrap team, so that first trials and benchmarks are not throttled.
pub const UNLIMITED_PLAN: &str = "enterprise";

/// Names of the plans in the built-in catalogue, from the narrowest to the widest.
pub const ALL_PLANS: [&str; 5] = [DEFAULT_PLAN, "starter", "pro", "team", UNLIMITED_PLAN];

const BUILTIN: &str = include_str!("../../../../ops/plans/plans.toml");

/// The unit that a policy counts requests for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// All credentials of a team in one environment.
    Team,
    /// One credential: an API key, or a person or an application in the team.
    Key,
    /// One source network: an IPv4 address or an IPv6 /64.
    Ip,
    /// One account that a request tries to use, from any network: an email address, or an OAuth
    /// client.
    Account,
    /// One account that a request tries to use, from one source network.
    AccountNetwork,
}

impl PolicyScope {
    /// The name in catalogues.
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
    /// Name in headers, errors and counters: `a-z 0-9 -`, unique within its plan.
    pub name: Arc<str>,
    /// The unit that requests are counted for.
    pub scope: PolicyScope,
    /// Requests per window.
    pub quota: NonZeroU32,
    /// Length of a window in seconds.
    pub window_s: NonZeroU32,
    /// Whether requests of the previous window count too, in proportion to how much of that window
    /// lies in the last `window_s` seconds.
    pub smooth: bool,
}

impl Policy {
    /// Requests per window.
    #[must_use]
    pub fn q(&self) -> u64 {
        u64::from(self.quota.get())
    }

    /// Length of a window.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_secs(u64::from(self.window_s.get()))
    }

    /// How long a gateway keeps unused credits: a twelfth of the window, but at least one and at
    /// most five seconds.
    #[must_use]
    pub fn lease(&self) -> Duration {
        (self.window() / 12).clamp(Duration::from_secs(1), Duration::from_secs(5))
    }
}

/// What a team on the plan may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub name: Arc<str>,
    /// Longest `maxWaitTime` of a task.
    pub max_wait: Duration,
    /// Limit of a stored response body, in bytes.
    pub max_answer_bytes: u32,
    /// Limit of live API keys; `None`: unlimited.
    pub max_keys: Option<u32>,
    /// Limit of members; `None`: unlimited.
    pub max_members: Option<u32>,
    /// Limit of vault tokens; `None`: only the limit of the platform applies.
    pub max_tokens: Option<u32>,
    /// Limit of queues that the team uses within a day, on one gateway; `None`: unlimited.
    pub max_queues: Option<u32>,
    /// Longest lifetime of a key; `None`: keys need not expire.
    pub max_key_lifetime: Option<Duration>,
    /// Whether credentials of the team may call the API at all. Existing keys are kept when a team
    /// loses this.
    pub api_access: bool,
    /// The APIs that its credentials may call.
    pub api_faces: Vec<Api>,
    /// Request limits, with scope team or key; empty: unlimited.
    pub policies: Vec<Arc<Policy>>,
    /// How many tasks of the team start in a turn among teams; at least 1.
    pub weight: u8,
}

impl Plan {
    /// Whether credentials of the team may call that API.
    #[must_use]
    pub fn has(&self, api: Api) -> bool {
        self.api_access && self.api_faces.contains(&api)
    }

    /// Whether requests are not counted at all.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.policies.is_empty()
    }
}

/// Operations that are limited before the caller is known, or more tightly than by a plan, because
/// they can be guessed or flooded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guard {
    /// Log-in with a password.
    LogIn,
    /// Sign-up for an account.
    SignUp,
    /// Request for a mail with a secret, such as a password reset.
    Reset,
    /// The OAuth token endpoint.
    Token,
    /// Creation of an API key.
    KeyCreation,
    /// Report of a leaked key by a partner.
    LeakReport,
    /// Invitation to a team, by mail.
    Invitation,
}

impl Guard {
    pub const ALL: [Self; 7] = [
        Self::LogIn,
        Self::SignUp,
        Self::Reset,
        Self::Token,
        Self::KeyCreation,
        Self::LeakReport,
        Self::Invitation,
    ];

    /// The name in catalogues.
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

/// All plans of an installation, and the limits that apply before a plan is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    plans: BTreeMap<Arc<str>, Arc<Plan>>,
    /// Plan of teams that are created without one.
    new_teams: Arc<Plan>,
    failures: Arc<Policy>,
    person: Arc<Policy>,
    guards: BTreeMap<Guard, Vec<Arc<Policy>>>,
}

impl Catalogue {
    /// Parses a catalogue. Strict: an unknown field, a missing field or a value out of range is an
    /// error that names it.
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

    /// The plan with that name, or the one for unknown names.
    #[must_use]
    pub fn plan(&self, name: &str) -> &Arc<Plan> {
        self.plans.get(name).unwrap_or_else(|| self.of_unknown())
    }

    /// The plan of a team whose plan is not in the catalogue: `free`, of this catalogue or else of the built-in one. A plan that was renamed
    /// or misspelt must not lift every limit.
    #[must_use]
    pub fn of_unknown(&self) -> &Arc<Plan> {
        let own = self.plans.get(DEFAULT_PLAN);
        own.unwrap_or_else(|| &Self::builtin().plans[DEFAULT_PLAN])
    }

    /// The plan with that name, if it exists.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Plan>> {
        self.plans.get(name)
    }

    /// The same plans, but new teams start on the named one; `None` if it does not exist.
    #[must_use]
    pub fn beginning_on(mut self, name: &str) -> Option<Self> {
        self.new_teams = Arc::clone(self.find(name)?);
        Some(self)
    }

    /// Plan of a team that is created without one.
    #[must_use]
    pub fn plan_of_new_teams(&self) -> &Arc<Plan> {
        &self.new_teams
    }

    /// All plans, in the order of their names.
    pub fn plans(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.plans.values()
    }

    /// Limit of failed authentications per source network.
    #[must_use]
    pub fn failures(&self) -> &Arc<Policy> {
        &self.failures
    }

    /// Limit of a person's requests that concern no team, or a team that the person is not a member
    /// of.
    #[must_use]
    pub fn person(&self) -> &Arc<Policy> {
        &self.person
    }

    /// Policies of a guarded operation.
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
    /// The limits of the plan with that name.
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
    fn an_unknown_plan_is_not_without_limits_because_new_teams_are() {
        let own = BUILTIN.replace("default = \"free\"", "default = \"enterprise\"");
        let own = Catalogue::parse(&own).expect("valid");
        assert!(own.plan_of_new_teams().is_unlimited());
        assert_eq!(own.plan("platinum"), own.plan(DEFAULT_PLAN));
        let without_free = BUILTIN
            .replace("default = \"free\"", "default = \"enterprise\"")
            .replace("[plans.free]", "[plans.small]");
        let without_free = Catalogue::parse(&without_free).expect("valid");
        let builtin = Catalogue::builtin();
        assert_eq!(without_free.plan("platinum"), builtin.plan(DEFAULT_PLAN));
    }

    #[test]
    fn teams_can_begin_on_a_plan_that_is_wider_than_what_is_unknown() {
        let builtin = Catalogue::builtin();
        assert_eq!(&*builtin.plan_of_new_teams().name, DEFAULT_PLAN);
        let catalogue = Catalogue::clone(builtin).beginning_on(UNLIMITED_PLAN);
        let catalogue = catalogue.expect("a built-in plan");
        assert!(catalogue.plan_of_new_teams().is_unlimited());
        assert_eq!(catalogue.plan("platinum"), catalogue.plan(DEFAULT_PLAN));
        assert!(
            Catalogue::clone(builtin)
                .beginning_on("enterprize")
                .is_none()
        );
    }

    #[test]
    fn no_built_in_plan_allows_less_than_a_narrower_one() {
        let plans = ALL_PLANS.map(|name| Catalogue::builtin().find(name).expect("built in"));
        let most = |count: Option<u32>| count.unwrap_or(u32::MAX);
        let per_minute = |plan: &Plan| {
            let sustained = plan.policies.iter().find(|p| p.window_s.get() == 60);
            sustained.map_or(u64::MAX, |policy| policy.q())
        };
        for pair in plans.windows(2) {
            let [narrow, wide] = [&pair[0], &pair[1]];
            let (at, of) = (&wide.name, &narrow.name);
            assert!(wide.max_wait > narrow.max_wait, "{at}, {of}");
            assert!(wide.max_answer_bytes >= narrow.max_answer_bytes, "{at}");
            assert!(per_minute(wide) > per_minute(narrow), "{at}, {of}");
            assert!(wide.api_faces.len() >= narrow.api_faces.len(), "{at}");
            for (more, less) in [
                (wide.max_keys, narrow.max_keys),
                (wide.max_members, narrow.max_members),
                (wide.max_tokens, narrow.max_tokens),
                (wide.max_queues, narrow.max_queues),
            ] {
                assert!(most(more) >= most(less), "{at}, {of}: {more:?}, {less:?}");
            }
        }
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
        let starter = catalogue.plan("starter");
        assert_eq!(quotas("starter"), [(500, 60), (50, 1)]);
        assert_eq!(starter.max_keys, Some(5));
        assert!(!starter.has(Api::Waitlists));
        let pro = catalogue.plan("pro");
        assert!(Api::ALL.into_iter().all(|api| pro.has(api)));
        assert_eq!((pro.max_keys, pro.max_members), (None, None));
        assert_eq!(pro.max_wait, Duration::from_secs(120));
        assert_eq!(quotas("pro"), [(600, 60)]);
        let team = catalogue.plan("team");
        assert!(Api::ALL.into_iter().all(|api| team.has(api)));
        assert_eq!((team.max_keys, team.max_members), (None, None));
        let enterprise = catalogue.plan(UNLIMITED_PLAN);
        assert!(enterprise.is_unlimited() && enterprise.api_access);
        assert_eq!(enterprise.max_wait, Duration::from_secs(3600));
        assert_eq!(catalogue.failures().scope, PolicyScope::Ip);
        for guard in Guard::ALL {
            assert!(!catalogue.guard(guard).is_empty(), "{guard:?}");
        }
    }
}
