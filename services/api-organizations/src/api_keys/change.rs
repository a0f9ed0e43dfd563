//! `PUT` and `PATCH /api/v1/api-keys/{id}`: what is absent stays.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::jobs_keys::{JobsKeyChange, JobsKeyCommand};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::{JobsApiKey, find};
use crate::body::Body;
use crate::field::Field;
use crate::permissions;

/// Changes of a key.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsUpdateApiKey {
    name: Option<String>,
    /// Only fewer than it has, and only of keys that this API made.
    permissions: Option<Vec<String>>,
    /// The same.
    queues: Option<Vec<String>>,
    /// Requests per minute; `null`: no limit of its own.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    rate_limit: Field<u32>,
    /// Whether it is accepted.
    is_active: Option<bool>,
}

/// Change a key.
#[utoipa::path(
    put,
    path = "/api/v1/api-keys/{id}",
    operation_id = "jobs.api_key.replace",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the key")),
    request_body = JobsUpdateApiKey,
    responses(
        (status = 200, description = "The key, as it is on every gateway", body = JobsApiKey),
        (status = 404, description = "No such key, or it was revoked", body = JobsErrorBody),
        (status = 409, description = "Permissions or queues would grow, or another API made the key", body = JobsErrorBody),
    )
)]
pub(crate) async fn replace_api_key(
    state: State<Edge>,
    caller: Caller<KeysWrite>,
    id: Path<String>,
    body: Body<JobsUpdateApiKey>,
) -> Result<Response, ApiError> {
    change(state, caller, id, body).await
}

/// Change a key: the same as `PUT`.
#[utoipa::path(
    patch,
    path = "/api/v1/api-keys/{id}",
    operation_id = "jobs.api_key.update",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the key")),
    request_body = JobsUpdateApiKey,
    responses(
        (status = 200, description = "The key, as it is on every gateway", body = JobsApiKey),
        (status = 404, description = "No such key, or it was revoked", body = JobsErrorBody),
        (status = 409, description = "Permissions or queues would grow, or another API made the key", body = JobsErrorBody),
    )
)]
pub(crate) async fn update_api_key(
    state: State<Edge>,
    caller: Caller<KeysWrite>,
    id: Path<String>,
    body: Body<JobsUpdateApiKey>,
) -> Result<Response, ApiError> {
    change(state, caller, id, body).await
}

async fn change(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
    Body(request): Body<JobsUpdateApiKey>,
) -> Result<Response, ApiError> {
    let id = find(&state, &caller.team, &id)?;
    let directory = state.auth.directory();
    let key = directory.key(&id).ok_or_else(ApiError::no_such_key)?;
    let scopes = request.permissions.as_deref().map(permissions::read);
    // The same words as before keep what they do not name, such as administration.
    let scopes = scopes
        .transpose()?
        .filter(|scopes| permissions::words(*scopes) != permissions::words(key.scopes));
    let queues = request.queues.as_deref().map(permissions::queues);
    let change = JobsKeyChange {
        name: request.name,
        scopes,
        queues: queues.transpose()?,
        rate_limit: request.rate_limit.change(Ok::<_, ApiError>)?,
        is_active: request.is_active,
    };
    let key = id.clone();
    let command = TeamCommand::JobsKey(Box::new(JobsKeyCommand::Change { key, change }));
    let team = caller.team.base();
    let by = caller.by();
    let changed = state.control.change_key(&team, &id, command, &by);
    let changed = changed.await?;
    state.settle_everywhere(changed.seq).await?;
    let used = state.usage.of_keys(&caller.team, std::slice::from_ref(&id));
    let used = used.await?;
    let shown = JobsApiKey::new(&changed.key, used.get(&id));
    Ok((StatusCode::OK, axum::Json(shown)).into_response())
}
