//! An API key as its events tell.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::access::key::KeyMac;
use crate::access::scope::ScopeSet;
use crate::event::{KeyCreated, RevocationReason};
use crate::id::{Environment, KeyId};
use crate::time::Timestamp;

/// Networks that a key may be bound to.
pub const MAX_SOURCES: usize = 50;

/// An API key as its events tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// What is stored of it.
    pub created: KeyCreated,
    /// What it may do.
    pub scopes: ScopeSet,
    /// Its successor, and until when it is still accepted itself.
    pub rotated: Option<(KeyId, Timestamp)>,
    /// Since when it is accepted no more, and why.
    pub revoked: Option<(Timestamp, RevocationReason)>,
    /// When it was last reported to lie in the open.
    pub reported: Option<Timestamp>,
    /// What it is recognised by. A MAC that cannot be read matches nothing.
    pub mac: Option<KeyMac>,
    /// Networks that it may be used from. `None`: one that cannot be read, so it may be used from nowhere.
    sources: Option<Vec<IpNet>>,
}

/// Whether a key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It is.
    Active,
    /// No more: its time is over, its own or that of its grace after a rotation.
    Expired,
    /// No more: somebody wanted so.
    Revoked,
}

impl KeyStatus {
    /// As in responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
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
            created,
        }
    }

    /// Whether it is accepted at that time.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        if self.revoked.is_some() {
            KeyStatus::Revoked
        } else if self.accepted_until().is_some_and(|until| until <= now) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
        }
    }

    /// From when on it is accepted no more, as far as time alone decides.
    #[must_use]
    pub fn accepted_until(&self) -> Option<Timestamp> {
        let grace = self.rotated.as_ref().map(|(_, until)| *until);
        [self.created.expires_at, grace].into_iter().flatten().min()
    }

    /// Whether it may be used from an address. An IPv4 address in IPv6 clothes counts as what it is.
    #[must_use]
    pub fn may_come_from(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.sources.as_ref().is_some_and(|networks| {
            networks.is_empty() || networks.iter().any(|network| network.contains(&source))
        })
    }

    /// Whether a key that is bound to these networks (none: to no network) could not be used from where this one cannot.
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

    /// The environment that it lives in.
    #[must_use]
    pub fn environment(&self) -> Environment {
        if self.created.prefix.ends_with("_test_") {
            Environment::Test
        } else {
            Environment::Live
        }
    }
}
