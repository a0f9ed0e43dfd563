//! Teams themselves: founded, listed, read, renamed.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{Team, TeamCommand};
use waybill_domain::event::LeakPolicy;
use waybill_domain::id::{TeamId, UserId};

use super::task_defaults::QueueTaskDefaults;
use crate::state::AccountApi;
use waybill_edge::auth::needs::{Admin, Viewer};
use waybill_edge::auth::{Member, SignedIn};
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;

/// A team as one of its members sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TeamObject {
    #[schema(example = "team_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    name: String,
    /// Name of its plan.
    #[schema(example = "free")]
    plan: String,
    /// What the caller may do in it: `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
    role: &'static str,
    /// How many people belong to it.
    members: usize,
    /// What happens to keys of the team that are found in the open: `revoke` or `warn`.
    #[schema(value_type = LeakPolicy)]
    leak_policy: &'static str,
    /// Headers of tasks whose values are sealed, beside `Authorization`, `Cookie`, `Proxy-Authorization` and `X-Api-Key`.
    sealed_headers: Vec<String>,
    /// Whether new tokens of the vault must name the hosts that they may be sent to.
    require_allowed_hosts: bool,
    /// Whether viewers see the bodies and headers of tasks and of their answers.
    viewers_see_payloads: bool,
    /// Default of `success` of tasks; `null`: the usual rule.
    success: Option<String>,
    /// Default of `retryOn` of tasks; `null`: the usual rule.
    retry_on: Option<Vec<String>>,
    /// Defaults of single queues, by name; a field that is left out is as for the team.
    queues: BTreeMap<String, QueueTaskDefaults>,
    /// Pauses before the second and each further delivery of completion webhooks, in seconds; empty: the usual ones.
    webhook_retry_seconds: Vec<u32>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
}

impl TeamObject {
    /// `None` when the team does not exist or the person is no member of it.
    pub(super) fn new(team: &Team, user: &UserId) -> Option<Self> {
        let role = team.role_of(user)?;
        let info = team.info.as_ref()?;
        Some(Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            plan: info.plan.clone(),
            role: role.as_str(),
            members: team.members.len(),
            leak_policy: info.leaked_keys.as_str(),
            sealed_headers: info.vault.sealed_headers.clone(),
            require_allowed_hosts: info.vault.require_allowed_hosts,
            viewers_see_payloads: info.viewers_see_payloads,
            success: info.tasks.outcome.success.as_ref().map(ToString::to_string),
            retry_on: info
                .tasks
                .outcome
                .retry_on
                .as_ref()
                .map(|on| on.as_slice().to_vec()),
            queues: info
                .tasks
                .queues
                .iter()
                .map(|(name, outcome)| (name.to_string(), outcome.into()))
                .collect(),
            webhook_retry_seconds: info.tasks.webhook_pauses.clone(),
            created_at: Iso(info.created_at),
        })
    }
}

/// `{"team": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TeamEnvelope {
    pub(super) team: TeamObject,
}

impl TeamEnvelope {
    /// 403 when the person is no member of the team any more.
    pub(super) fn new(team: &Team, user: &UserId) -> Result<axum::Json<Self>, ApiError> {
        let team = TeamObject::new(team, user).ok_or_else(ApiError::forbidden)?;
        Ok(axum::Json(Self { team }))
    }
}

/// `{"teams": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TeamList {
    /// Oldest first.
    teams: Vec<TeamObject>,
}

/// A team to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTeam {
    /// A name for people, at most 100 characters.
    #[schema(required = true, max_length = 100)]
    name: Option<String>,
}

/// Changes of a team.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameTeam {
    /// A name for people, at most 100 characters.
    #[schema(required = true, max_length = 100)]
    name: Option<String>,
}

fn name(given: Option<String>) -> Result<String, ApiError> {
    given.ok_or_else(|| ApiError::bad_field("name", "name is required"))
}

/// Create a team. The caller becomes its owner; it begins on the default plan. A person may own ten teams.
#[utoipa::path(
    post,
    path = "/teams",
    operation_id = "teams.team.create",
    tag = "teams",
    security(("session" = [])),
    request_body = CreateTeam,
    responses(
        (status = 201, description = "Created", body = TeamEnvelope),
        (status = 403, description = "The caller is not a person, or owns too many teams", body = ErrorBody),
    )
)]
pub(crate) async fn create_team(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<CreateTeam>,
) -> Result<Response, ApiError> {
    let name = name(request.name)?;
    let founded = state
        .control
        .found_team(&person.user, &name, &person.by())
        .await;
    let (team, seq) = founded?;
    state.settle(seq).await?;
    let founded = read(&state, &team, &person.user)?;
    Ok((StatusCode::CREATED, founded).into_response())
}

/// List the caller's teams.
#[utoipa::path(
    get,
    path = "/teams",
    operation_id = "teams.team.list",
    tag = "teams",
    security(("session" = [])),
    responses(
        (status = 200, description = "All teams that the caller belongs to", body = TeamList),
        (status = 403, description = "The caller is not a person", body = ErrorBody),
    )
)]
pub(crate) async fn list_teams(
    State(state): State<AccountApi>,
    person: SignedIn,
) -> axum::Json<TeamList> {
    let directory = state.auth.directory();
    let teams = directory.teams_of(&person.user).into_iter();
    let object = |team: TeamId| {
        directory
            .with_team(&team, |team| TeamObject::new(team, &person.user))
            .flatten()
    };
    axum::Json(TeamList {
        teams: teams.filter_map(object).collect(),
    })
}

/// Read a team.
#[utoipa::path(
    get,
    path = "/teams/{teamId}",
    operation_id = "teams.team.get",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "The team", body = TeamEnvelope),
    )
)]
pub(crate) async fn get_team(
    State(state): State<AccountApi>,
    member: Member<Viewer>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    read(&state, &member.team, &member.user)
}

/// Rename a team.
#[utoipa::path(
    patch,
    path = "/teams/{teamId}",
    operation_id = "teams.team.update",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = RenameTeam,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
    )
)]
pub(crate) async fn rename_team(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Json(request): Json<RenameTeam>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let rename = TeamCommand::Rename {
        name: name(request.name)?,
    };
    let after = state
        .control
        .run_team(&member.team, rename, &member.by())
        .await?;
    state.settle(after.version).await?;
    TeamEnvelope::new(&after.state, &member.user)
}

fn read(
    state: &AccountApi,
    team: &TeamId,
    user: &UserId,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let look = |team: &Team| TeamEnvelope::new(team, user);
    let directory = state.auth.directory();
    directory
        .with_team(team, look)
        .unwrap_or_else(|| Err(ApiError::forbidden()))
}
