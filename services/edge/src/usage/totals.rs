//! The totals of all gateways.

use std::collections::HashMap;

use waybill_domain::access::scope::Scope;
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::{Counted, ReadError, Seen, Tally, TallyName, Wanted};

use super::Usage;
use super::parts::read_route;
use crate::error::ApiError;
use crate::state::Edge;

/// When and from where a credential was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    pub at: Timestamp,
    /// From which address.
    pub source: String,
}

impl From<Seen> for LastUse {
    fn from(seen: Seen) -> Self {
        Self {
            at: seen.at,
            source: seen.source,
        }
    }
}

/// How a credential was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialUse {
    /// How many times.
    pub count: u64,
    /// The last one. `None`: there was none that is known.
    pub last: Option<LastUse>,
}

/// How a key was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    pub key: KeyId,
    /// Requests with it.
    pub count: u64,
    /// The last one. `None`: there was none that is known.
    pub last: Option<LastUse>,
}

/// Requests of a key that a scope let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeUse {
    pub scope: Scope,
    pub count: u64,
    pub last: Option<LastUse>,
}

/// Requests of a key to a route that had one kind of answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteUse {
    pub method: String,
    /// With the names of its parameters, such as `/v1/tasks/{id}`.
    pub route: String,
    /// Such as `2xx`.
    pub status: String,
    pub count: u64,
    pub last: Option<LastUse>,
}

/// How a key was used, by its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyParts {
    /// Those that were used, in the order of their names.
    pub scopes: Vec<ScopeUse>,
    /// The most used first.
    pub routes: Vec<RouteUse>,
    /// Requests by day in UTC, such as `2026-11-21`, oldest first; days without any are left out.
    pub days: Vec<(String, u64)>,
}

/// How a team used the API, in one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeamTotals {
    /// Requests by day in UTC, such as `2026-11-21`, oldest first.
    pub days: Vec<(String, u64)>,
    /// Requests by month in UTC, such as `2026-11`, oldest first.
    pub months: Vec<(String, u64)>,
    /// Every key ever made, oldest first.
    pub keys: Vec<KeyUse>,
}

impl Usage {
    /// How these keys of a team, in its environment, were used. Keys that never were are left out.
    pub async fn of_keys(
        &self,
        team: &TeamId,
        keys: &[KeyId],
    ) -> Result<HashMap<KeyId, KeyUse>, ReadError> {
        let ids = keys.iter().map(ToString::to_string);
        let uses = self.of_credentials(team, ids).await?.into_iter();
        let of_key = |(id, used): (String, CredentialUse)| {
            let key = KeyId::parse(&id).ok()?;
            let used = KeyUse {
                key: key.clone(),
                count: used.count,
                last: used.last,
            };
            Some((key, used))
        };
        Ok(uses.filter_map(of_key).collect())
    }

    /// How many requests these keys of a team, in its environment, had on each of these days in UTC. Keys without any are left out.
    pub async fn days_of_keys(
        &self,
        team: &TeamId,
        keys: &[KeyId],
        days: &[String],
    ) -> Result<HashMap<KeyId, Vec<u64>>, ReadError> {
        let of_day = |key: &KeyId, day: &String| {
            let counted = Counted::CredentialDay {
                credential: key.to_string(),
                day: day.clone(),
            };
            TallyName::new(team.clone(), counted)
        };
        let names = keys
            .iter()
            .flat_map(|key| days.iter().filter_map(move |day| of_day(key, day)));
        let wanted = Wanted::Named(names.collect());
        let mut found: HashMap<KeyId, Vec<u64>> = HashMap::new();
        for tally in self.tallies.tallies(wanted).await? {
            let Counted::CredentialDay { credential, day } = tally.name.counted() else {
                continue;
            };
            let place = days.iter().position(|known| known == day);
            if let (Ok(key), Some(place)) = (KeyId::parse(credential), place) {
                let counts = found.entry(key).or_insert_with(|| vec![0; days.len()]);
                counts[place] = tally.count;
            }
        }
        Ok(found)
    }

    /// Which scopes let requests of a key of a team, in its environment, through, and which routes answered how.
    pub async fn parts_of_key(&self, team: &TeamId, key: &KeyId) -> Result<KeyParts, ReadError> {
        let wanted = Wanted::Parts(team.clone(), key.to_string());
        let mut parts = KeyParts::default();
        for tally in self.tallies.tallies(wanted).await? {
            let last = tally.seen.map(LastUse::from);
            let count = tally.count;
            match tally.name.counted() {
                Counted::Scope { scope, .. } => {
                    let scope = Scope::parse(scope);
                    parts
                        .scopes
                        .extend(scope.map(|scope| ScopeUse { scope, count, last }));
                }
                Counted::Route { route, .. } => {
                    let read = read_route(route);
                    parts
                        .routes
                        .extend(read.map(|(method, route, status)| RouteUse {
                            method,
                            route,
                            status,
                            count,
                            last,
                        }));
                }
                Counted::CredentialDay { day, .. } => parts.days.push((day.clone(), count)),
                Counted::Credential(_) | Counted::Day(_) | Counted::Month(_) => {}
            }
        }
        parts.days.sort();
        parts.scopes.sort_by_key(|used| used.scope.as_str());
        parts.routes.sort_by(|a, b| {
            let name =
                |used: &RouteUse| (used.route.clone(), used.method.clone(), used.status.clone());
            (b.count, name(a)).cmp(&(a.count, name(b)))
        });
        Ok(parts)
    }

    /// How these credentials of a team, in its environment, were used, by id. Those that never were are left out.
    pub async fn of_credentials(
        &self,
        team: &TeamId,
        ids: impl Iterator<Item = String>,
    ) -> Result<HashMap<String, CredentialUse>, ReadError> {
        let names = ids.filter_map(|id| TallyName::new(team.clone(), Counted::Credential(id)));
        let tallies = self.tallies.tallies(Wanted::Named(names.collect())).await?;
        let uses = tallies.into_iter().filter_map(|tally| {
            let Counted::Credential(id) = tally.name.counted() else {
                return None;
            };
            let last = tally.seen.map(LastUse::from);
            let count = tally.count;
            Some((id.clone(), CredentialUse { count, last }))
        });
        Ok(uses.collect())
    }
}

/// How a team, in its environment, used the API: about a minute late.
pub async fn team_totals(state: &Edge, team: &TeamId) -> Result<TeamTotals, ApiError> {
    let keys = state.auth.directory().with_team(&team.base(), |known| {
        let of_this = |key: &KeyId| {
            let key = known.keys.get(key);
            key.is_some_and(|key| key.environment() == team.environment())
        };
        let ids = known.keys_by_age().into_iter();
        ids.map(|key| key.created.key.clone())
            .filter(of_this)
            .collect::<Vec<_>>()
    });
    let keys = keys.unwrap_or_default();
    let usage = &state.usage;
    let (days, months, mut used) = tokio::try_join!(
        usage.tallies.tallies(Wanted::Days(team.clone())),
        usage.tallies.tallies(Wanted::Months(team.clone())),
        usage.of_keys(team, &keys),
    )?;
    let keys = keys.into_iter().map(|key| {
        let unused = || KeyUse {
            key: key.clone(),
            count: 0,
            last: None,
        };
        used.remove(&key).unwrap_or_else(unused)
    });
    Ok(TeamTotals {
        keys: keys.collect(),
        days: by_time(days),
        months: by_time(months),
    })
}

fn by_time(tallies: Vec<Tally>) -> Vec<(String, u64)> {
    let mut totals: Vec<_> = tallies
        .into_iter()
        .filter_map(|tally| match tally.name.counted() {
            Counted::Day(text) | Counted::Month(text) => Some((text.clone(), tally.count)),
            Counted::Credential(_)
            | Counted::Scope { .. }
            | Counted::Route { .. }
            | Counted::CredentialDay { .. } => None,
        })
        .collect();
    totals.sort();
    totals
}
