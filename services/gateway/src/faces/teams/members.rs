//! The people of a team: listed, given another role, removed.

use axum::extract::{Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::team::{Member as Membership, TeamCommand, TeamRefusal};
use waybill_domain::id::UserId;

use crate::auth::Member;
use crate::auth::needs::{Admin, Viewer};
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::faces::tasks::object::Iso;
use crate::state::AppState;

/// Somebody who belongs to a team.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberObject {
    #[schema(example = "user_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    /// Their address.
    #[schema(value_type = Option<String>)]
    email: Option<String>,
    /// Their name, as they wrote it.
    name: Option<String>,
    /// What they may do: `owner`, `admin`, `member` or `viewer`.
    role: &'static str,
    /// Since when they belong to it.
    #[schema(value_type = String)]
    since: Iso,
}

impl MemberObject {
    fn new(state: &AppState, user: &UserId, membership: Membership) -> Self {
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
    /// Those who have been there longest first.
    members: Vec<MemberObject>,
}

/// Another role.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    /// `owner`, `admin`, `member` or `viewer`.
    #[schema(required = true)]
    role: Option<String>,
}

/// List the people of a team.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/members",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "Everybody who belongs to it", body = MemberList),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Nobody can be recognised now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn list_members(
    State(state): State<AppState>,
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
/// Nobody can make others more than they are themselves, nor change those who are more. A team keeps at least one owner. The answer
/// comes once the new role counts on every gateway.
#[utoipa::path(
    patch,
    path = "/teams/{teamId}/members/{userId}",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("userId" = String, Path, description = "Id of the person"),
    ),
    request_body = ChangeRole,
    responses(
        (status = 200, description = "The member as they are now", body = MemberEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, or the role does not reach", body = ErrorBody),
        (status = 404, description = "Nobody of that id is a member", body = ErrorBody),
        (status = 409, description = "The team would be left without an owner", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known to count everywhere yet; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_role(
    State(state): State<AppState>,
    member: Member<Admin>,
    Path(path): Path<(String, String)>,
    Json(request): Json<ChangeRole>,
) -> Result<axum::Json<MemberEnvelope>, ApiError> {
    let user = person(&path.1)?;
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
/// The answer comes once it counts on every gateway: from then on nobody lets them in.
#[utoipa::path(
    delete,
    path = "/teams/{teamId}/members/{userId}",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("userId" = String, Path, description = "Id of the person"),
    ),
    responses(
        (status = 204, description = "They belong to it no more"),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, or the role does not reach", body = ErrorBody),
        (status = 404, description = "Nobody of that id is a member", body = ErrorBody),
        (status = 409, description = "The team would be left without an owner", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known to count everywhere yet; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn remove_member(
    State(state): State<AppState>,
    member: Member<Viewer>,
    Path(path): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let remove = TeamCommand::RemoveMember {
        user: person(&path.1)?,
    };
    super::take_away(&state, &member.team, remove, &member.by()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no id is nobody's.
fn person(text: &str) -> Result<UserId, TeamRefusal> {
    UserId::parse(text).map_err(|_| TeamRefusal::NoSuchMember)
}
