//! Scopes: what a credential may do, written as `resource:verb`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::words::words;

words! {
    /// One right of a credential.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
    #[expect(missing_docs, reason = "each one is its text")]
    pub enum Scope {
        TasksRead = "tasks:read",
        TasksWrite = "tasks:write",
        JobsRead = "jobs:read",
        JobsWrite = "jobs:write",
        QueuesRead = "queues:read",
        QueuesWrite = "queues:write",
        DlqRead = "dlq:read",
        DlqWrite = "dlq:write",
        TokensRead = "tokens:read",
        TokensWrite = "tokens:write",
        KeysRead = "keys:read",
        KeysWrite = "keys:write",
        ActivityRead = "activity:read",
        SubscribersRead = "subscribers:read",
        SubscribersWrite = "subscribers:write",
        BidsRead = "bids:read",
        BidsWrite = "bids:write",
        DeliveriesRead = "deliveries:read",
        DeliveriesWrite = "deliveries:write",
        AgentsRead = "agents:read",
        AgentsWrite = "agents:write",
        WebhooksRead = "webhooks:read",
        WebhooksWrite = "webhooks:write",
        SigningSecretWrite = "signing-secret:write",
        PostingsRead = "postings:read",
        PostingsWrite = "postings:write",
        LedgerRead = "ledger:read",
        WaitlistsRead = "waitlists:read",
        WaitlistsWrite = "waitlists:write",
    }
}

// By hand: the derive does not see the names that the macro above gives to serde.
impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What a credential may do"))
            .enum_values(Some(Self::ALL.iter().map(|scope| scope.as_str())))
            .into()
    }
}

impl ToSchema for Scope {
    fn name() -> Cow<'static, str> {
        "Scope".into()
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An API that a plan may include.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// The native API: HTTP calls as tasks.
    Tasks,
    /// Queues with pulling workers.
    Jobs,
    /// Postings, bids and deliveries.
    Market,
    /// Waitlists and their subscribers.
    Waitlists,
}

impl Api {
    pub const ALL: [Self; 4] = [Self::Tasks, Self::Jobs, Self::Market, Self::Waitlists];

    /// The name in catalogues of plans.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Jobs => "jobs",
            Self::Market => "market",
            Self::Waitlists => "waitlists",
        }
    }

    /// Reads what [`Api::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.as_str() == text)
    }
}

impl Scope {
    /// The API that the scope belongs to; `None` if it belongs to all of them, as those of keys and
    /// the vault do.
    #[must_use]
    pub fn api(self) -> Option<Api> {
        match self {
            Self::TasksRead | Self::TasksWrite => Some(Api::Tasks),
            Self::SubscribersRead
            | Self::SubscribersWrite
            | Self::WaitlistsRead
            | Self::WaitlistsWrite => Some(Api::Waitlists),
            Self::PostingsRead
            | Self::PostingsWrite
            | Self::BidsRead
            | Self::BidsWrite
            | Self::DeliveriesRead
            | Self::DeliveriesWrite
            | Self::AgentsRead
            | Self::AgentsWrite
            | Self::LedgerRead => Some(Api::Market),
            // The native API serves pulling workers as well.
            Self::JobsRead
            | Self::JobsWrite
            | Self::QueuesRead
            | Self::QueuesWrite
            | Self::DlqRead
            | Self::DlqWrite
            | Self::TokensRead
            | Self::TokensWrite
            | Self::KeysRead
            | Self::KeysWrite
            | Self::ActivityRead
            | Self::WebhooksRead
            | Self::WebhooksWrite
            | Self::SigningSecretWrite => None,
        }
    }
}

/// A set of scopes as a bit mask: copied and tested on every request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScopeSet(u64);

const _: () = assert!(Scope::ALL.len() <= u64::BITS as usize);

impl ScopeSet {
    #[must_use]
    pub fn all() -> Self {
        Scope::ALL.iter().copied().collect()
    }

    /// Every scope that only reads.
    #[must_use]
    pub fn read_only() -> Self {
        Self::all().reads()
    }

    /// The scopes in this set that only read.
    #[must_use]
    pub fn reads(self) -> Self {
        let reads = |scope: &Scope| scope.as_str().ends_with(":read");
        self.iter().filter(reads).collect()
    }

    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u64) != 0
    }

    /// Whether this set is a subset of `other`.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first scope that `other` lacks.
    #[must_use]
    pub fn first_outside(self, other: Self) -> Option<Scope> {
        Self(self.0 & !other.0).iter().next()
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .iter()
            .copied()
            .filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(
            scopes
                .into_iter()
                .fold(0, |set, scope| set | 1 << scope as u64),
        )
    }
}

/// A named set of scopes, for users who do not want to choose single ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name in requests.
    pub name: &'static str,
    /// The name shown to people.
    pub title: &'static str,
    scopes: &'static [Scope],
    reads_only: bool,
}

// Neither poster nor agent has `tasks:*`: with `tasks:write`, a key could have vault secrets sent
// to any host.
const POSTER: &[Scope] = &[
    Scope::PostingsRead,
    Scope::PostingsWrite,
    Scope::BidsRead,
    Scope::BidsWrite,
    Scope::DeliveriesRead,
    Scope::DeliveriesWrite,
    Scope::WebhooksRead,
    Scope::WebhooksWrite,
    Scope::LedgerRead,
];
// A leaked key of an agent must neither select a bid nor approve a delivery.
const MANAGER: &[Scope] = &[
    Scope::AgentsRead,
    Scope::AgentsWrite,
    Scope::BidsRead,
    Scope::LedgerRead,
];
const SUBSCRIBERS: &[Scope] = &[Scope::SubscribersRead, Scope::SubscribersWrite];

impl Preset {
    pub const ALL: [Self; 8] = [
        Self::new("full_access", "Full access", Scope::ALL, false),
        Self::new("read_only", "Read-only", Scope::ALL, true),
        Self::new("task_poster", "Task Poster", POSTER, false),
        Self::new(
            "task_poster_read_only",
            "Task Poster, read-only",
            POSTER,
            true,
        ),
        Self::new("agent_manager", "Agent Manager", MANAGER, false),
        Self::new(
            "agent_manager_read_only",
            "Agent Manager, read-only",
            MANAGER,
            true,
        ),
        Self::new(
            "subscribers_full_access",
            "Subscribers, full access",
            SUBSCRIBERS,
            false,
        ),
        Self::new(
            "subscribers_read_only",
            "Subscribers, read-only",
            SUBSCRIBERS,
            true,
        ),
    ];

    const fn new(
        name: &'static str,
        title: &'static str,
        scopes: &'static [Scope],
        reads_only: bool,
    ) -> Self {
        Self {
            name,
            title,
            scopes,
            reads_only,
        }
    }

    /// The preset with that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name == name)
    }

    /// The label of a set of scopes for people: the title of the preset with exactly these scopes,
    /// or `Custom`.
    #[must_use]
    pub fn access(scopes: ScopeSet) -> &'static str {
        let same = Self::ALL
            .into_iter()
            .find(|preset| preset.scopes() == scopes);
        same.map_or("Custom", |preset| preset.title)
    }

    /// Scopes that the preset allows.
    #[must_use]
    pub fn scopes(self) -> ScopeSet {
        let all: ScopeSet = self.scopes.iter().copied().collect();
        if self.reads_only { all.reads() } else { all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_preset_writes_nothing() {
        for preset in Preset::ALL {
            let writes = preset
                .scopes()
                .iter()
                .any(|s| s.as_str().ends_with(":write"));
            assert_eq!(
                writes,
                !preset.name.ends_with("read_only"),
                "{}",
                preset.name
            );
            assert_eq!(Preset::find(preset.name), Some(preset));
        }
    }

    #[test]
    fn presets_of_the_market_hold_what_its_contract_says() {
        let of = |name: &str| -> Vec<&str> {
            let preset = Preset::find(name).expect("there is one");
            let mut names: Vec<_> = preset.scopes().iter().map(Scope::as_str).collect();
            names.sort_unstable();
            names
        };
        let poster = [
            "bids:read",
            "bids:write",
            "deliveries:read",
            "deliveries:write",
            "ledger:read",
            "postings:read",
            "postings:write",
            "webhooks:read",
            "webhooks:write",
        ];
        assert_eq!(of("task_poster"), poster);
        let reads = poster.iter().filter(|name| name.ends_with(":read"));
        assert_eq!(
            of("task_poster_read_only"),
            reads.copied().collect::<Vec<_>>()
        );
        let manager = ["agents:read", "agents:write", "bids:read", "ledger:read"];
        assert_eq!(of("agent_manager"), manager);
        assert_eq!(
            of("agent_manager_read_only"),
            ["agents:read", "bids:read", "ledger:read"]
        );
    }

    #[test]
    fn a_set_is_called_by_the_preset_that_allows_just_that() {
        for preset in Preset::ALL {
            assert_eq!(Preset::access(preset.scopes()), preset.title);
        }
        assert_eq!(
            Preset::access([Scope::TasksRead].into_iter().collect()),
            "Custom"
        );
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set: ScopeSet = [Scope::TasksRead, Scope::WebhooksWrite]
            .into_iter()
            .collect();
        assert!(set.contains(Scope::TasksRead) && !set.contains(Scope::TasksWrite));
        assert!(set.is_within(ScopeSet::all()) && !ScopeSet::all().is_within(set));
        assert_eq!(
            set.first_outside(ScopeSet::read_only()),
            Some(Scope::WebhooksWrite)
        );
        assert_eq!(ScopeSet::all().iter().count(), Scope::ALL.len());
    }
}
