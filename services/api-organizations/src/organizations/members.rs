//! `GET /api/v1/organizations/{id}/members`: the people of the team.

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::role::Role;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;

use super::own;

/// Somebody who belongs to an organisation.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsMember {
    pub id: String,
    /// The same.
    pub user_id: String,
    /// Empty, if it is not known.
    pub email: String,
    /// Their name, else their address.
    pub name: String,
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
    pub role: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Iso,
}

/// List the people of the organisation, those who joined first first.
#[utoipa::path(
    get,
    path = "/api/v1/organizations/{id}/members",
    operation_id = "jobs.organization.members",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    params(("id" = String, Path, description = "Id of the organisation")),
    responses(
        (status = 200, description = "Everybody who belongs to it", body = Vec<JobsMember>),
        (status = 404, description = "It is not the caller's", body = JobsErrorBody),
    )
)]
pub(crate) async fn list_members(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
    Path(id): Path<String>,
) -> Result<axum::Json<Vec<JobsMember>>, ApiError> {
    let team = own(&caller.team, &id)?;
    let directory = state.auth.directory();
    let members = directory.with_team(&team, |team| team.members.clone());
    let mut members: Vec<_> = members.unwrap_or_default().into_iter().collect();
    members.sort_by(|(a, first), (b, second)| (first.since, a).cmp(&(second.since, b)));
    let shown = members.into_iter().map(|(user, member)| {
        let known = directory.user(&user);
        let who = known.as_ref().and_then(|known| known.confirmed());
        let email = who.map(|(who, _)| who.email.clone()).unwrap_or_default();
        let name = who.map(|(_, account)| account.name.clone());
        JobsMember {
            id: user.to_string(),
            user_id: user.to_string(),
            name: name.unwrap_or_else(|| email.clone()),
            email,
            role: member.role.as_str(),
            joined_at: Iso(member.since),
        }
    });
    Ok(axum::Json(shown.collect()))
}
