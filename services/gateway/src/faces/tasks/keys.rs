//! A team's API keys: made, listed, revoked.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::access::team::{Key, TeamRefusal};
use waybill_domain::id::KeyId;

use super::object::Iso;
use crate::access::{CommandError, ControlError, KeyWish};
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
    fn new(key: &Key) -> Self {
        let created = &key.created;
        Self {
            id: created.key.to_string(),
            team_id: created.team.to_string(),
            name: created.name.clone(),
            prefix: created.prefix.clone(),
            last4: created.last4.clone(),
            scopes: created.scopes.iter().map(|scope| scope.as_str()).collect(),
            created_at: Iso(created.at),
            revoked_at: key.revoked.map(|(at, _)| Iso(at)),
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
    Json(request): Json<CreateKey>,
) -> Result<Response, ApiError> {
    let name = request
        .name
        .ok_or_else(|| ApiError::bad_field("name", "name is required"))?;
    let scopes = match &request.scopes {
        Some(wanted) => scopes(wanted, caller.scopes)?,
        None => caller.scopes,
    };
    let wish = KeyWish {
        scopes,
        environment: caller.team.environment(),
        ..KeyWish::new(name, &[])
    };
    let made = state
        .control
        .make_key(&caller.team.base(), wish, &caller.by())
        .await?;
    state.settle(made.seq).await?;
    let key = state.auth.directory().key(made.key.id());
    let mut api_key = ApiKeyObject::new(&*key.ok_or_else(ApiError::no_such_key)?);
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
) -> Result<axum::Json<ApiKeyList>, ApiError> {
    let keys = state
        .auth
        .directory()
        .with_team(&caller.team.base(), |team| team.keys_by_age())
        .unwrap_or_default();
    Ok(axum::Json(ApiKeyList {
        api_keys: keys.iter().map(|key| ApiKeyObject::new(key)).collect(),
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
    let key = KeyId::parse(&key).map_err(|_| ApiError::no_such_key())?;
    let revoked = state
        .control
        .revoke_key(&caller.team.base(), &key, &caller.by())
        .await?;
    state.settle_everywhere(revoked.seq).await?;
    Ok(axum::Json(ApiKeyEnvelope {
        api_key: ApiKeyObject::new(&revoked.key),
    }))
}

/// A credential cannot make a key that may do more than itself.
fn scopes(wanted: &[String], own: ScopeSet) -> Result<ScopeSet, ApiError> {
    let parse = |text: &String| {
        Scope::parse(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            ApiError::bad_field("scopes", format!("scopes: there is no scope {shown:?}"))
        })
    };
    let wanted: ScopeSet = wanted.iter().map(parse).collect::<Result<_, _>>()?;
    match wanted.first_outside(own) {
        Some(scope) => Err(ApiError::missing_scope(scope)),
        None => Ok(wanted),
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Command(error) => error.into(),
            ControlError::NoSuchKey => Self::no_such_key(),
            ControlError::KeyIdTaken | ControlError::NoKeyMade => Self::internal(&error),
        }
    }
}

impl<R: std::error::Error + Into<Self>> From<CommandError<R>> for ApiError {
    fn from(error: CommandError<R>) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Contended => Self::unavailable("conflict", error.to_string()),
            CommandError::Read(error) => error.into(),
            CommandError::Append(error) => error.into(),
            CommandError::History(_) | CommandError::Subject(_) => Self::internal(&error),
        }
    }
}

impl From<TeamRefusal> for ApiError {
    fn from(refusal: TeamRefusal) -> Self {
        let text = refusal.to_string();
        let limit = |text| Self::new(StatusCode::FORBIDDEN, "plan_limit_exceeded", text);
        match refusal {
            TeamRefusal::Invalid { field, .. } => Self::bad_field(field, text),
            TeamRefusal::NoSuchPlan(_) => Self::bad_field("plan", text),
            TeamRefusal::NoSuchTeam
            | TeamRefusal::NoSuchKey
            | TeamRefusal::NoSuchMember
            | TeamRefusal::NoSuchInvitation => Self::not_found(text),
            TeamRefusal::KeyLimit { .. } | TeamRefusal::MemberLimit { .. } => limit(text),
            TeamRefusal::FeatureNotAllowed(plan) => Self::feature_not_allowed(&plan),
            TeamRefusal::WiderThanCaller(scope) => Self::missing_scope(scope),
            TeamRefusal::NotEntitled => Self::forbidden(),
            TeamRefusal::AlreadyExists
            | TeamRefusal::KeyIdTaken
            | TeamRefusal::AlreadyMember
            | TeamRefusal::LastOwner
            | TeamRefusal::TooManyInvitations(_)
            | TeamRefusal::NotRotatable(_) => Self::conflict("conflict", text),
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
