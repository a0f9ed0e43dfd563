//! The keys of a team.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::access::team::{Key, KeyStatus, Team};
use waybill_domain::id::{Environment, KeyId};
use waybill_domain::time::Timestamp;

use super::object::ApiKeyObject;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::needs::KeysRead;
use waybill_edge::auth::{Caller, Principal};
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;

/// Days that a list may come with: a counter is read for each day and key.
const MOST_DAYS: u32 = 30;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// Only keys of this environment, `live` or `test`. A key sees only those of its own environment.
    environment: Option<String>,
    /// Only those that are `active`, `expired` or `revoked`.
    status: Option<String>,
    /// How many days' requests each key comes with (`byDay`), 1 to 30. Without it, none.
    #[param(minimum = 1, maximum = 30)]
    days: Option<u32>,
}

/// `{"apiKeys": [...]}`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyList {
    /// Oldest first.
    api_keys: Vec<ApiKeyObject>,
}

/// List the team's API keys.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/apikeys",
    operation_id = "keys.key.list",
    tag = "keys",
    security(("api_key" = ["keys:read"])),
    params(("teamId" = String, Path, description = "Id of the team"), ListKeys),
    responses(
        (status = 200, description = "The keys, without the keys themselves", body = ApiKeyList),
    )
)]
pub(crate) async fn list_keys(
    State(state): State<Edge>,
    caller: Caller<KeysRead>,
    Query(wanted): Query<ListKeys>,
) -> Result<axum::Json<ApiKeyList>, ApiError> {
    let environment = wanted.environment.as_deref().map(environment).transpose()?;
    let status = wanted.status.as_deref().map(status).transpose()?;
    let now = entropy::now();
    let days = wanted.days.map(|count| days(count, now)).transpose()?;
    let seen = |in_which: Environment| {
        let in_own = match caller.principal {
            Principal::User { .. } => true,
            Principal::Key(_) | Principal::App { .. } => in_which == caller.team.environment(),
        };
        in_own && environment.is_none_or(|wanted| wanted == in_which)
    };
    let keys = state
        .auth
        .directory()
        .with_team(&caller.team.base(), Team::keys_by_age)
        .unwrap_or_default()
        .into_iter()
        .filter(|key| seen(key.environment()))
        .filter(|key| status.is_none_or(|status| status == key.status(now)));
    let keys: Vec<Arc<Key>> = keys.collect();
    let (mut used, mut by_day) = (HashMap::new(), HashMap::new());
    for environment in [Environment::Live, Environment::Test] {
        let ids: Vec<KeyId> = keys
            .iter()
            .filter(|key| key.environment() == environment)
            .map(|key| key.created.key.clone())
            .collect();
        if !ids.is_empty() {
            let team = caller.team.in_environment(environment);
            let of_these = state.usage.of_keys(&team, &ids).await?;
            if let Some(days) = &days {
                // Those that were never used have no days.
                let ids: Vec<_> = of_these.keys().cloned().collect();
                by_day.extend(state.usage.days_of_keys(&team, &ids, days).await?);
            }
            used.extend(of_these);
        }
    }
    let shown = |key: &Arc<Key>| {
        let object = ApiKeyObject::new(key).used(used.get(&key.created.key));
        match &days {
            Some(days) => object.on_days(by_day.get(&key.created.key), days.len()),
            None => object,
        }
    };
    Ok(axum::Json(ApiKeyList {
        api_keys: keys.iter().map(shown).collect(),
    }))
}

/// The names of so many days in UTC, today last.
fn days(count: u32, now: Timestamp) -> Result<Vec<String>, ApiError> {
    if !(1..=MOST_DAYS).contains(&count) {
        let message = format!("days must be between 1 and {MOST_DAYS}, not {count}");
        return Err(ApiError::bad_field("days", message));
    }
    let name = |ago: u32| {
        let day = Timestamp(now.0 - i64::from(ago) * MILLIS_PER_DAY).to_rfc3339();
        day.get(..10).unwrap_or_default().to_owned()
    };
    Ok((0..count).rev().map(name).collect())
}

fn environment(text: &str) -> Result<Environment, ApiError> {
    Environment::parse(text)
        .ok_or_else(|| ApiError::bad_field("environment", "environment must be live or test"))
}

fn status(text: &str) -> Result<KeyStatus, ApiError> {
    [
        KeyStatus::Active,
        KeyStatus::Expired,
        KeyStatus::Revoked,
        KeyStatus::Inactive,
    ]
    .into_iter()
    .find(|status| status.as_str() == text)
    .ok_or_else(|| {
        ApiError::bad_field(
            "status",
            "status must be active, expired, revoked or inactive",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_named_in_utc_and_today_is_the_last() {
        let now = Timestamp::parse_rfc3339("2026-03-01T00:30:00Z").expect("a time");
        let named = days(3, now).expect("fine");
        assert_eq!(named, ["2026-02-27", "2026-02-28", "2026-03-01"]);
        for wrong in [0, 31] {
            let refused = days(wrong, now).expect_err("too few or too many");
            assert_eq!(refused.body.field.as_deref(), Some("days"));
        }
    }
}
