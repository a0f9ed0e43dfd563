//! A team's API keys: made, listed, revoked.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::TeamRefusal;
use waybill_domain::event::KeyCreated;
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;

use super::object::Iso;
use crate::access::ControlError;
use crate::auth::needs::{KeysRead, KeysWrite};
use crate::auth::{Caller, NotAppliedYet};
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateKey {
    /// For people, at most 100 characters.
    #[schema(required = true)]
    name: Option<String>,
    /// What it may do, such as `tasks:read`. Default: all that the calling key may do. Never more than that.
    scopes: Option<Vec<String>>,
}

/// A key without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyObject {
    id: String,
    team_id: String,
    name: String,
    /// What it begins with.
    prefix: String,
    /// Its last four characters.
    last4: String,
    scopes: Vec<&'static str>,
    #[schema(value_type = String)]
    created_at: Iso,
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Iso>,
    /// The key itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl ApiKeyObject {
    fn new(created: &KeyCreated, revoked_at: Option<Timestamp>) -> Self {
        Self {
            id: created.key.to_string(),
            team_id: created.team.to_string(),
            name: created.name.clone(),
            prefix: created.prefix.clone(),
            last4: created.last4.clone(),
            scopes: created.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: Iso(created.at),
            revoked_at: revoked_at.map(Iso),
            key: None,
        }
    }
}

/// `{"apiKey": ...}`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyEnvelope {
    api_key: ApiKeyObject,
}

/// `{"apiKeys": [...]}`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyList {
    /// Oldest first, revoked ones too.
    api_keys: Vec<ApiKeyObject>,
}

/// Create an API key. The key is in this one answer only.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/apikeys",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = CreateKey,
    responses(
        (status = 201, description = "Made, and accepted from now on", body = ApiKeyEnvelope),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team, or the calling key may not do this", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn create_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    Path(team): Path<String>,
    Json(request): Json<CreateKey>,
) -> Result<Response, ApiError> {
    own_team(&team, &caller.team)?;
    let name = request
        .name
        .ok_or_else(|| ApiError::bad_field("name", "name is required"))?;
    let scopes = match &request.scopes {
        Some(wanted) => scopes(wanted, &caller)?,
        None => caller.view().created.scopes.clone(),
    };
    let made = state
        .control
        .create_key(&caller.team, &name, &scopes, &caller.actor())
        .await?;
    state.auth.wait_for(made.seq).await?;
    let mut api_key = ApiKeyObject::new(&made.created, None);
    api_key.key = Some(made.key.reveal().to_owned());
    Ok((StatusCode::CREATED, axum::Json(ApiKeyEnvelope { api_key })).into_response())
}

/// List the team's API keys.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/apikeys",
    tag = "keys",
    security(("api_key" = ["keys:read"])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "All keys ever made", body = ApiKeyList),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team, or the key lacks the scope", body = ErrorBody),
    )
)]
pub(crate) async fn list_keys(
    State(state): State<AppState>,
    caller: Caller<KeysRead>,
    Path(team): Path<String>,
) -> Result<axum::Json<ApiKeyList>, ApiError> {
    own_team(&team, &caller.team)?;
    let keys = state.auth.directory().keys_of(&caller.team);
    Ok(axum::Json(ApiKeyList {
        api_keys: keys
            .iter()
            .map(|key| ApiKeyObject::new(&key.created, key.revoked_at))
            .collect(),
    }))
}

/// Revoke an API key. A second time changes nothing.
#[utoipa::path(
    post,
    path = "/apikeys/{keyId}/revoke",
    tag = "keys",
    security(("api_key" = ["keys:write"])),
    params(("keyId" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "This gateway accepts it no more", body = ApiKeyEnvelope),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team's key, or the calling key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such key", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn revoke_key(
    State(state): State<AppState>,
    caller: Caller<KeysWrite>,
    Path(key): Path<String>,
) -> Result<axum::Json<ApiKeyEnvelope>, ApiError> {
    let no_such_key = || ApiError::not_found("API key not found");
    let key = KeyId::parse(&key).map_err(|_| no_such_key())?;
    let team = match state.auth.directory().key(&key) {
        Some(known) => known.created.team.clone(),
        // Made a moment ago through another gateway, perhaps.
        None => state.control.find_key(&key).await?,
    };
    if team != caller.team {
        return Err(ApiError::forbidden());
    }
    let revoked = state
        .control
        .revoke_key(&team, &key, &caller.actor())
        .await?;
    state.auth.wait_for(revoked.seq).await?;
    Ok(axum::Json(ApiKeyEnvelope {
        api_key: ApiKeyObject::new(&revoked.created, Some(revoked.at)),
    }))
}

fn own_team(text: &str, team: &TeamId) -> Result<(), ApiError> {
    if text == team.as_str() {
        Ok(())
    } else {
        Err(ApiError::forbidden())
    }
}

/// A key cannot make one that may do more than itself.
fn scopes(wanted: &[String], caller: &Caller<KeysWrite>) -> Result<Vec<Scope>, ApiError> {
    let mut scopes = Vec::new();
    for text in wanted {
        let scope = Scope::parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ApiError::bad_field("scopes", format!("scopes: there is no scope {shown:?}"))
        })?;
        if !caller.view().may(scope) {
            return Err(ApiError::missing_scope(scope));
        }
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Refused(refusal) => refusal.into(),
            ControlError::NoSuchKey => Self::not_found("API key not found"),
            ControlError::Contended => Self::unavailable("conflict", error.to_string()),
            ControlError::Read(error) => error.into(),
            ControlError::Append(error) => error.into(),
            ControlError::KeyIdTaken | ControlError::History(_) | ControlError::NoKeyMade => {
                Self::internal(&error)
            }
        }
    }
}

impl From<TeamRefusal> for ApiError {
    fn from(refusal: TeamRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            TeamRefusal::InvalidName(_) => Self::bad_field("name", text),
            TeamRefusal::NoScopes => Self::bad_field("scopes", text),
            TeamRefusal::NoSuchTeam | TeamRefusal::NoSuchKey => Self::not_found(text),
            TeamRefusal::AlreadyExists | TeamRefusal::KeyIdTaken => {
                Self::conflict("conflict", text)
            }
        }
    }
}

impl From<NotAppliedYet> for ApiError {
    fn from(late: NotAppliedYet) -> Self {
        tracing::warn!(%late, "a change of access is stored but not applied");
        Self::unavailable(
            "not_applied_yet",
            "The change is stored, but this gateway has not applied it yet; try again",
        )
    }
}
