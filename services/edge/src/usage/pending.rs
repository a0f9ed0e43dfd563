//! What this gateway has counted since its last flush.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use parking_lot::Mutex;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::{Addition, Counted, Seen, TallyName};

/// Locks, so that requests of different credentials seldom wait for each other.
const SHARDS: usize = 16;
/// Credentials that are remembered between two flushes; uses of further ones go uncounted. Far more than a gateway serves in a minute.
const MAX_CREDENTIALS_PER_SHARD: usize = 20_000;
/// Scopes and routes of one credential that are remembered between two flushes; there are fewer of both together.
const MAX_PARTS: usize = 1_000;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// One use of a credential.
pub(super) struct Use<'a> {
    pub(super) team: &'a TeamId,
    pub(super) credential: &'a str,
    /// Whether something is kept of the credential itself, not only of its team.
    pub(super) is_kept: bool,
    pub(super) at: Timestamp,
    pub(super) source: IpAddr,
}

/// Uses by team and credential. A lock is held for a look-up and an addition, never across an await.
pub(super) struct Pending {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

#[derive(Default)]
struct Shard {
    teams: HashMap<TeamId, HashMap<Box<str>, Uses>>,
    credentials: usize,
}

/// Of what a use is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Scope(Scope),
    /// As the name of its tally says it.
    Route(String),
}

/// Uses of one part.
struct PartUses {
    count: u64,
    at: Timestamp,
    source: IpAddr,
}

/// Uses of one credential.
struct Uses {
    is_kept: bool,
    count: u64,
    at: Timestamp,
    source: IpAddr,
    /// By days since 1970, in UTC: one, two around midnight, or more when flushes failed.
    days: Vec<(i64, u64)>,
    parts: HashMap<Part, PartUses>,
}

impl Pending {
    pub(super) fn count(&self, used: &Use<'_>) {
        self.of(used, |uses| uses.count(used));
    }

    /// Counts parts of a use, which itself is counted by [`Pending::count`].
    pub(super) fn count_parts(&self, used: &Use<'_>, parts: impl Iterator<Item = Part>) {
        self.of(used, |uses| {
            for part in parts {
                uses.count_part(used, part);
            }
        });
    }

    fn of(&self, used: &Use<'_>, count: impl FnOnce(&mut Uses)) {
        let shard = self.hasher.hash_one(used.credential);
        let mut shard = self.shards[usize::try_from(shard % SHARDS as u64).unwrap_or(0)].lock();
        if let Some(team) = shard.teams.get_mut(used.team)
            && let Some(uses) = team.get_mut(used.credential)
        {
            count(uses);
            return;
        }
        if shard.credentials >= MAX_CREDENTIALS_PER_SHARD {
            metrics::counter!("waybill_usage_uncounted_total").increment(1);
            return;
        }
        shard.credentials += 1;
        let team = shard.teams.entry(used.team.clone()).or_default();
        let uses = team.entry(used.credential.into()).or_insert(Uses {
            is_kept: used.is_kept,
            count: 0,
            at: used.at,
            source: used.source,
            days: Vec::with_capacity(1),
            parts: HashMap::new(),
        });
        count(uses);
    }

    /// Takes everything, as additions to tallies.
    pub(super) fn take(&self) -> Vec<Addition> {
        let mut additions = BTreeMap::new();
        for shard in &self.shards {
            let taken = std::mem::take(&mut *shard.lock());
            for (team, credentials) in taken.teams {
                for (credential, uses) in credentials {
                    add(&mut additions, &team, &credential, &uses);
                }
            }
        }
        additions.into_values().collect()
    }
}

impl Uses {
    fn count(&mut self, used: &Use<'_>) {
        self.count += 1;
        if used.at >= self.at {
            (self.at, self.source) = (used.at, used.source);
        }
        let day = used.at.0.div_euclid(MILLIS_PER_DAY);
        match self.days.iter_mut().find(|(known, _)| *known == day) {
            Some((_, count)) => *count += 1,
            None => self.days.push((day, 1)),
        }
    }

    fn count_part(&mut self, used: &Use<'_>, part: Part) {
        if !self.parts.contains_key(&part) && self.parts.len() >= MAX_PARTS {
            metrics::counter!("waybill_usage_uncounted_total").increment(1);
            return;
        }
        let uses = self.parts.entry(part).or_insert(PartUses {
            count: 0,
            at: used.at,
            source: used.source,
        });
        uses.count += 1;
        if used.at >= uses.at {
            (uses.at, uses.source) = (used.at, used.source);
        }
    }
}

fn add(
    additions: &mut BTreeMap<TallyName, Addition>,
    team: &TeamId,
    credential: &str,
    uses: &Uses,
) {
    let mut raise = |counted, count, seen| {
        if let Some(name) = TallyName::new(team.clone(), counted) {
            let addition = additions.entry(name.clone()).or_insert(Addition {
                name,
                count: 0,
                seen,
            });
            addition.count += count;
        }
    };
    let seen = |at, source: IpAddr| {
        let source = source.to_string();
        Some(Seen { at, source })
    };
    // Without a count only parts are known: their request was told of by an earlier flush.
    if uses.is_kept && uses.count > 0 {
        let counted = Counted::Credential(credential.to_owned());
        raise(counted, uses.count, seen(uses.at, uses.source));
    }
    for (part, uses) in &uses.parts {
        let credential = credential.to_owned();
        let counted = match part {
            Part::Scope(scope) => Counted::Scope {
                credential,
                scope: scope.as_str().to_owned(),
            },
            Part::Route(route) => Counted::Route {
                credential,
                route: route.clone(),
            },
        };
        raise(counted, uses.count, seen(uses.at, uses.source));
    }
    for (day, count) in &uses.days {
        let text = Timestamp(day * MILLIS_PER_DAY).to_rfc3339();
        let (Some(month), Some(day)) = (text.get(..7), text.get(..10)) else {
            continue;
        };
        if uses.is_kept {
            let counted = Counted::CredentialDay {
                credential: credential.to_owned(),
                day: day.to_owned(),
            };
            raise(counted, *count, None);
        }
        raise(Counted::Day(day.to_owned()), *count, None);
        raise(Counted::Month(month.to_owned()), *count, None);
    }
}
