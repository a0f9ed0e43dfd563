//! How a key is used: by what scopes its requests come through, and which routes answer it how.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::Key;
use waybill_domain::id::KeyId;
use waybill_domain::time::Timestamp;

use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::needs::KeysRead;
use waybill_edge::auth::{Caller, Principal};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;
use waybill_edge::query::Query;
use waybill_edge::usage::{KeyParts, LastUse};

/// Days within which a scope counts as used, unless the request says otherwise.
const DAYS: u32 = 30;
/// Tallies that nothing adds to are kept for longer than this.
const MOST_DAYS: u32 = 365;
const MILLIS_PER_DAY: i64 = 86_400_000;

/// Parameters of the use of a key.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct UsageParams {
    /// A scope that was not used within so many days is unused, and so many are told of: 1 to 365, default 30.
    #[param(minimum = 1, maximum = 365)]
    days: Option<u32>,
}

/// `{"usage": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyUsageEnvelope {
    usage: KeyUsageObject,
}

/// How a key is used. Accurate to about a minute; what was not used for 13 months is forgotten.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyUsageObject {
    key_id: String,
    /// Within how many days a scope counts as used.
    days: u32,
    /// The key's scopes, and how many requests each let through; scopes that none did are here as well, with 0.
    scopes: Vec<ScopeUsage>,
    /// The key's scopes that let no request through within those days. A key without them could do all that this one did; but one that makes
    /// other keys needs the scopes that it gives them.
    #[schema(value_type = Vec<Scope>)]
    unused_scopes: Vec<&'static str>,
    /// Requests by route and kind of answer, the most frequent first; refused ones as well.
    routes: Vec<RouteUsage>,
    /// Requests of each of those days on which there were any, oldest first.
    by_day: Vec<DayUsage>,
}

/// Requests of a key on a day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayUsage {
    /// In UTC.
    #[schema(example = "2026-11-21", format = Date)]
    day: String,
    requests: u64,
}

/// How often a scope let a request of a key through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScopeUsage {
    #[schema(value_type = Scope)]
    scope: &'static str,
    requests: u64,
    /// The last time; `null`: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Iso>,
}

/// How often a route gave one kind of answer to a key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteUsage {
    #[schema(example = "GET")]
    method: String,
    /// With the names of its parameters; `unmatched` for a path that there is not.
    #[schema(example = "/v1/tasks/{id}")]
    route: String,
    /// The first digit of the statuses.
    #[schema(example = "2xx")]
    status: String,
    requests: u64,
    /// The last time.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Iso>,
}

impl KeyUsageObject {
    fn new(key: &Key, parts: &KeyParts, days: u32, now: Timestamp) -> Self {
        let since = Timestamp(now.0 - i64::from(days) * MILLIS_PER_DAY);
        let at = |last: &Option<LastUse>| last.as_ref().map(|last| Iso(last.at));
        let of = |scope: Scope| parts.scopes.iter().find(|used| used.scope == scope);
        let is_used = |scope: Scope| {
            let last = of(scope).and_then(|used| used.last.as_ref());
            last.is_some_and(|last| last.at >= since)
        };
        // Days are named so that they sort by time.
        let first = since.to_rfc3339();
        let first = first.get(..10).unwrap_or_default();
        let by_day = parts.days.iter().filter(|(day, _)| day.as_str() > first);
        let unused = key.scopes.iter().filter(|scope| !is_used(*scope));
        Self {
            key_id: key.created.key.to_string(),
            days,
            unused_scopes: unused.map(Scope::as_str).collect(),
            by_day: by_day
                .map(|(day, requests)| DayUsage {
                    day: day.clone(),
                    requests: *requests,
                })
                .collect(),
            scopes: key
                .scopes
                .iter()
                .map(|scope| ScopeUsage {
                    scope: scope.as_str(),
                    requests: of(scope).map_or(0, |used| used.count),
                    last_used_at: of(scope).and_then(|used| at(&used.last)),
                })
                .collect(),
            routes: parts
                .routes
                .iter()
                .map(|used| RouteUsage {
                    method: used.method.clone(),
                    route: used.route.clone(),
                    status: used.status.clone(),
                    requests: used.count,
                    last_used_at: at(&used.last),
                })
                .collect(),
        }
    }
}

/// See which of its scopes an API key uses, which routes answer it how, and how many requests it makes a day.
#[utoipa::path(
    get,
    path = "/apikeys/{keyId}/usage",
    operation_id = "keys.key_usage.get",
    tag = "keys",
    security(("api_key" = ["keys:read"])),
    params(("keyId" = String, Path, description = "Id of the key"), UsageParams),
    responses(
        (status = 200, description = "Its use by all gateways", body = KeyUsageEnvelope),
        (status = 404, description = "No such key in the caller's environment", body = ErrorBody),
        (status = 503, description = "Uses cannot be read now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn get_key_usage(
    State(state): State<Edge>,
    caller: Caller<KeysRead>,
    Id(id): Id<KeyId>,
    Query(params): Query<UsageParams>,
) -> Result<axum::Json<KeyUsageEnvelope>, ApiError> {
    let days = params.days.unwrap_or(DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        let text = format!("days must be between 1 and {MOST_DAYS}, not {days}");
        return Err(ApiError::bad_field("days", text));
    }
    let key = state.auth.directory().key(&id);
    let key = key
        .filter(|key| {
            let is_seen = matches!(caller.principal, Principal::User { .. })
                || key.environment() == caller.team.environment();
            key.created.team == caller.team.base() && is_seen
        })
        .ok_or_else(ApiError::no_such_key)?;
    let team = caller.team.in_environment(key.environment());
    let parts = state.usage.parts_of_key(&team, &id).await?;
    let usage = KeyUsageObject::new(&key, &parts, days, entropy::now());
    Ok(axum::Json(KeyUsageEnvelope { usage }))
}
