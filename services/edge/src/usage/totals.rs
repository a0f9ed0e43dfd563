//! The totals of all gateways.

use std::collections::HashMap;

use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::{Counted, ReadError, Tally, TallyName, Wanted};

use super::Usage;
use crate::error::ApiError;
use crate::state::Edge;

/// When and from where a credential was last used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    pub at: Timestamp,
    /// From which address.
    pub source: String,
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
            let last = tally.seen.map(|seen| LastUse {
                at: seen.at,
                source: seen.source,
            });
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
            Counted::Credential(_) => None,
        })
        .collect();
    totals.sort();
    totals
}
