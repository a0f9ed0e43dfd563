//! The keys of a team.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::access::team::{Key, KeyStatus, Team};
use waybill_domain::id::{Environment, KeyId};

use super::object::ApiKeyObject;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::needs::KeysRead;
use waybill_edge::auth::{Caller, Principal};
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// Only keys of this environment, `live` or `test`. A key sees only those of its own environment.
    environment: Option<String>,
    /// Only those that are `active`, `expired` or `revoked`.
    status: Option<String>,
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
    let seen = |in_which: Environment| {
        let in_own = match caller.principal {
            Principal::User { .. } => true,
            Principal::Key(_) | Principal::App { .. } => in_which == caller.team.environment(),
        };
        in_own && environment.is_none_or(|wanted| wanted == in_which)
    };
    let now = entropy::now();
    let keys = state
        .auth
        .directory()
        .with_team(&caller.team.base(), Team::keys_by_age)
        .unwrap_or_default()
        .into_iter()
        .filter(|key| seen(key.environment()))
        .filter(|key| status.is_none_or(|status| status == key.status(now)));
    let keys: Vec<Arc<Key>> = keys.collect();
    let mut used = HashMap::new();
    for environment in [Environment::Live, Environment::Test] {
        let ids: Vec<KeyId> = keys
            .iter()
            .filter(|key| key.environment() == environment)
            .map(|key| key.created.key.clone())
            .collect();
        if !ids.is_empty() {
            let team = caller.team.in_environment(environment);
            used.extend(state.usage.of_keys(&team, &ids).await?);
        }
    }
    let shown = |key: &Arc<Key>| ApiKeyObject::new(key).used(used.get(&key.created.key));
    Ok(axum::Json(ApiKeyList {
        api_keys: keys.iter().map(shown).collect(),
    }))
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
