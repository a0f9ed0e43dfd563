//! `GET /api/v1/api-keys` and one of them.

use axum::extract::{Path, State};
use waybill_domain::access::team::Team;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::{JobsApiKey, find};

/// List the keys of the organisation, oldest first, without revoked ones.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    operation_id = "jobs.api_key.list",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses((status = 200, description = "The keys", body = Vec<JobsApiKey>))
)]
pub(crate) async fn list_api_keys(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
) -> Result<axum::Json<Vec<JobsApiKey>>, ApiError> {
    let environment = caller.team.environment();
    let directory = state.auth.directory();
    let keys = directory.with_team(&caller.team.base(), Team::keys_by_age);
    let mut keys = keys.unwrap_or_default();
    keys.retain(|key| key.environment() == environment && key.revoked.is_none());
    let ids: Vec<_> = keys.iter().map(|key| key.created.key.clone()).collect();
    let used = state.usage.of_keys(&caller.team, &ids).await?;
    let shown = keys.iter();
    let shown = shown.map(|key| JobsApiKey::new(key, used.get(&key.created.key)));
    Ok(axum::Json(shown.collect()))
}

/// Read a key of the organisation.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys/{id}",
    operation_id = "jobs.api_key.get",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "The key, without the key itself", body = JobsApiKey),
        (status = 404, description = "No such key, or it was revoked", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_api_key(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
) -> Result<axum::Json<JobsApiKey>, ApiError> {
    let id = find(&state, &caller.team, &id)?;
    let used = state.usage.of_keys(&caller.team, std::slice::from_ref(&id));
    let used = used.await?;
    let key = state.auth.directory().key(&id);
    let key = key.ok_or_else(ApiError::no_such_key)?;
    Ok(axum::Json(JobsApiKey::new(&key, used.get(&id))))
}
