//! The state of an API key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use utoipa::ToSchema;

use crate::access::key::KeyMac;
use crate::access::scope::ScopeSet;
use crate::access::team::jobs_keys::KeyTerms;
use crate::event::{KeyCreated, RevocationReason};
use crate::id::{Environment, KeyId, QueueName};
use crate::time::Timestamp;

/// Limit of networks per key.
pub const MAX_SOURCES: usize = 50;
/// Limit of queues that a key is limited to: as many as a filter of tasks takes.
pub const MAX_KEY_QUEUES: usize = 20;

/// An API key, built from its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub created: KeyCreated,
    pub scopes: ScopeSet,
    /// The successor, and until when this key remains valid after the rotation.
    pub rotated: Option<(KeyId, Timestamp)>,
    /// When and why the key was revoked.
    pub revoked: Option<(Timestamp, RevocationReason)>,
    /// When the key was last reported as leaked.
    pub reported: Option<Timestamp>,
    /// The MAC of the key. `None` if the stored one is unreadable; it matches nothing.
    pub mac: Option<KeyMac>,
    /// What the jobs API added; `None`: nothing.
    pub terms: Option<KeyTerms>,
    /// Sessions begun with the key that were ended, and until when their tokens would last.
    pub(super) ended_sessions: BTreeMap<String, Timestamp>,
    /// Sessions that were begun until then have ended.
    pub(super) sessions_void_until: Option<Timestamp>,
    /// Networks that the key may be used from. `None` if one of them is unreadable: then the key
    /// may not be used at all.
    sources: Option<Vec<IpNet>>,
}

/// Whether a key is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum KeyStatus {
    /// The key is valid.
    Active,
    /// The key, or its overlap after a rotation, has expired.
    Expired,
    /// The key was revoked.
    Revoked,
    /// The key was deactivated, and may be activated again.
    Inactive,
}

impl KeyStatus {
    /// The name in responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Inactive => "inactive",
        }
    }
}

impl Key {
    pub(super) fn new(created: KeyCreated) -> Self {
        Self {
            scopes: created.scopes.iter().copied().collect(),
            mac: KeyMac::from_hex(&created.mac),
            sources: created.sources.iter().map(|net| net.parse().ok()).collect(),
            rotated: None,
            revoked: None,
            reported: None,
            terms: None,
            ended_sessions: BTreeMap::new(),
            sessions_void_until: None,
            created,
        }
    }

    /// Whether the key is valid at the time `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked.is_some() {
            KeyStatus::Revoked
        } else if self.accepted_until().is_some_and(|until| until <= now) {
            KeyStatus::Expired
        } else if !self.is_active() {
            KeyStatus::Inactive
        } else {
            KeyStatus::Active
        }
    }

    /// When the key expires, as far as time alone decides.
    #[must_use]
    pub fn accepted_until(&self) -> Option<Timestamp> {
        let grace = self.rotated.as_ref().map(|(_, until)| *until);
        [self.created.expires_at, grace].into_iter().flatten().min()
    }

    /// Whether the key may be used from an address. An IPv4-mapped IPv6 address counts as the IPv4
    /// address.
    #[must_use]
    pub fn may_come_from(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.sources.as_ref().is_some_and(|networks| {
            networks.is_empty() || networks.iter().any(|network| network.contains(&source))
        })
    }

    /// The queues that the key is limited to; `None`: it is not.
    #[must_use]
    pub fn only_queues(&self) -> Option<&[QueueName]> {
        let queues = self.created.queues.as_slice();
        (!queues.is_empty()).then_some(queues)
    }

    /// Whether a key bound to `sources` could only be used from where this one can. An empty list
    /// binds to nothing.
    #[must_use]
    pub fn covers(&self, sources: &[String]) -> bool {
        let Some(own) = &self.sources else {
            return false;
        };
        let within = |text: &String| {
            let child = text.parse::<IpNet>();
            child.is_ok_and(|child| own.iter().any(|network| network.contains(&child)))
        };
        own.is_empty() || (!sources.is_empty() && sources.iter().all(within))
    }

    #[must_use]
    pub fn environment(&self) -> Environment {
        if self.created.prefix.ends_with("_test_") {
            Environment::Test
        } else {
            Environment::Live
        }
    }
}
