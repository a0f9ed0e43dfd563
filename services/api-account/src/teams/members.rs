//! The people of a team: listed, given another role, removed.

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{Member as Membership, TeamCommand, TeamRefusal};
use waybill_domain::id::UserId;

use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::{Admin, Viewer};
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::path::Id;

/// Somebody who belongs to a team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberObject {
    #[schema(example = "user_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    /// Email address of the account, if it is known.
    #[schema(value_type = Option<String>)]
    email: Option<String>,
    /// Their name, as they wrote it.
    name: Option<String>,
    /// What they may do: `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
    role: &'static str,
    /// Since when they belong to it.
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
}

impl MemberObject {
    fn new(state: &AccountApi, user: &UserId, membership: Membership) -> Self {
        let known = state.auth.directory().user(user);
        let (email, name) = known
            .as_ref()
            .and_then(|known| known.confirmed())
            .map(|(who, account)| (who.email.clone(), account.name.clone()))
            .unzip();
        Self {
            id: user.to_string(),
            email,
            name,
            role: membership.role.as_str(),
            since: Iso(membership.since),
        }
    }
}

/// `{"member": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberEnvelope {
    member: MemberObject,
}

/// `{"members": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberList {
    /// The oldest members first.
    members: Vec<MemberObject>,
}

/// A new role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(required = true, value_type = Option<Role>)]
    role: Option<String>,
}

/// List the people of a team.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/members",
    operation_id = "teams.member.list",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "Everybody who belongs to it", body = MemberList),
    )
)]
pub(crate) async fn list_members(
    State(state): State<AccountApi>,
    member: Member<Viewer>,
) -> axum::Json<MemberList> {
    let members = state
        .auth
        .directory()
        .with_team(&member.team, |team| team.members.clone())
        .unwrap_or_default();
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(a, first), (b, second)| (first.since, a).cmp(&(second.since, b)));
    axum::Json(MemberList {
        members: members
            .iter()
            .map(|(user, membership)| MemberObject::new(&state, user, *membership))
            .collect(),
    })
}

/// Give a member another role.
///
/// Nobody can give a role above their own, nor change somebody with a higher one. A team keeps at least one owner. The answer
/// comes once the new role counts on every gateway.
#[utoipa::path(
    patch,
    path = "/teams/{teamId}/members/{userId}",
    operation_id = "teams.member.update",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("userId" = String, Path, description = "Id of the person"),
    ),
    request_body = ChangeRole,
    responses(
        (status = 200, description = "The member as they are now", body = MemberEnvelope),
        (status = 404, description = "The team has no member with that id", body = ErrorBody),
        (status = 409, description = "The team would be left without an owner", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_role(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(user): Id<UserId>,
    Json(request): Json<ChangeRole>,
) -> Result<axum::Json<MemberEnvelope>, ApiError> {
    let command = TeamCommand::ChangeRole {
        user: user.clone(),
        role: super::role(request.role.as_deref())?,
    };
    let after = super::take_away(&state, &member.team, command, &member.by()).await?;
    let membership = after.state.members.get(&user).copied();
    let membership = membership.ok_or(TeamRefusal::NoSuchMember)?;
    Ok(axum::Json(MemberEnvelope {
        member: MemberObject::new(&state, &user, membership),
    }))
}

/// Remove a member, or leave the team.
///
/// Everybody may leave; removing others takes the role admin, and removing an owner the role owner. A team keeps at least one owner.
/// The answer comes once every gateway has applied it.
#[utoipa::path(
    delete,
    path = "/teams/{teamId}/members/{userId}",
    operation_id = "teams.member.delete",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("userId" = String, Path, description = "Id of the person"),
    ),
    responses(
        (status = 204, description = "They no longer belong to the team"),
        (status = 404, description = "The team has no member with that id", body = ErrorBody),
        (status = 409, description = "The team would be left without an owner", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn remove_member(
    State(state): State<AccountApi>,
    member: Member<Viewer>,
    Id(user): Id<UserId>,
) -> Result<StatusCode, ApiError> {
    let remove = TeamCommand::RemoveMember { user };
    super::take_away(&state, &member.team, remove, &member.by()).await?;
    Ok(StatusCode::NO_CONTENT)
}
