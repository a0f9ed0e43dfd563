//! Invitations to a team: sent, listed, withdrawn.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::email::Email;
use waybill_domain::access::local_owner::may_invite;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{
    INVITATION_LIFETIME, Invitation, InvitationDraft, TeamCommand, TeamRefusal,
};
use waybill_domain::access::token::TokenKind;
use waybill_domain::id::InvitationId;
use waybill_domain::time::Timestamp;

use crate::state::AccountApi;
use waybill_commands::{CommandError, entropy};
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::limits::Guarded;
use waybill_edge::path::Id;
use waybill_mail::{Letter, Occasion};

/// Whether an invitation can still be accepted.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
enum InvitationStatus {
    Open,
    Expired,
}

/// An invitation, without its token: that is in the mail alone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvitationObject {
    #[schema(example = "inv_01k9x2v7m3f8q4t6r1w5y0z2bc")]
    id: String,
    /// Where the mail went.
    email: String,
    /// The role that they are offered: `owner`, `admin`, `member` or `viewer`.
    #[schema(value_type = Role)]
    role: &'static str,
    /// `open`, or `expired`.
    #[schema(value_type = InvitationStatus)]
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    sent_at: Iso,
    /// Until when it can be accepted.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Iso,
}

impl InvitationObject {
    fn new(id: &InvitationId, invitation: &Invitation, now: Timestamp) -> Self {
        let open = now < invitation.expires_at;
        Self {
            id: id.to_string(),
            email: invitation.email.clone(),
            role: invitation.role.as_str(),
            status: if open { "open" } else { "expired" },
            sent_at: Iso(invitation.sent_at),
            expires_at: Iso(invitation.expires_at),
        }
    }
}

/// `{"invitation": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationEnvelope {
    invitation: InvitationObject,
}

/// `{"invitations": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationList {
    /// Those neither accepted nor withdrawn, oldest first.
    invitations: Vec<InvitationObject>,
}

/// Somebody to be invited.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Where the invitation goes. Only whoever has this address can accept it.
    #[schema(required = true, max_length = 254)]
    email: Option<String>,
    /// The role that they are offered: `owner`, `admin`, `member` or `viewer`; not higher than the caller's.
    #[schema(required = true, value_type = Option<Role>)]
    role: Option<String>,
}

/// Invite somebody by mail.
///
/// An invitation is valid for seven days and for one acceptance. A second one to the same address replaces the first. Open
/// invitations count as members where the plan limits those.
#[utoipa::path(
    post,
    path = "/teams/{teamId}/invitations",
    operation_id = "teams.invitation.create",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = Invite,
    responses(
        (status = 201, description = "Sent", body = InvitationEnvelope),
        (status = 409, description = "Too many invitations are open, or you have given no address yet", body = ErrorBody),
        (status = 503, description = "The log does not answer, or too many mails wait; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn invite(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Json(request): Json<Invite>,
) -> Result<Response, ApiError> {
    if let Some(user) = state.auth.directory().user(&member.user) {
        may_invite(&user).map_err(CommandError::Refused)?;
    }
    let email = request
        .email
        .ok_or_else(|| ApiError::bad_field("email", "email is required"))?;
    let email =
        Email::parse(&email).map_err(|error| ApiError::bad_field("email", error.to_string()))?;
    let role = super::role(request.role.as_deref())?;
    let address = state.people.address(&email);
    let mailbox = state.people.mailbox(&email);
    let guarded = Guarded {
        source: Some(member.context().source),
        account: Some(mailbox.as_str()),
        team: Some(&member.team),
    };
    let slot = &member.context().limits;
    state
        .limiter
        .guard(slot, Guard::Invitation, &guarded)
        .await?;
    let letter_box = state.people.outbox.letter_box()?;
    let id = InvitationId::new(entropy::now(), entropy::random_u128());
    let token = state.people.token(TokenKind::Invitation, id.ulid());
    let (token, mac, pepper_version) =
        token.ok_or_else(|| ApiError::internal(&"no token could be made"))?;
    let draft = InvitationDraft {
        id: id.clone(),
        email_hash: address,
        email: email.clone(),
        mac: mac.to_hex(),
        pepper_version,
        role,
        lifetime: INVITATION_LIFETIME,
    };
    let command = TeamCommand::Invite(Box::new(draft));
    let after = state
        .control
        .run_team(&member.team, command, &member.by())
        .await?;
    let team = after.state.info.as_ref().map(|info| info.name.clone());
    let occasion = Occasion::Invitation {
        team: team.unwrap_or_default(),
        role: role.to_string(),
        token: token.reveal().to_owned(),
    };
    let letter = Letter::about(&occasion, &email, &state.people.links);
    // Where it cannot be stored, the invitation is open and nobody has its token: another one takes its place.
    letter_box.post(Some(&letter)).await?;
    // It may have taken the place of an earlier one.
    state.settle_everywhere(after.version).await?;
    let sent = after.state.invitations.get(&id);
    let sent = sent.ok_or(TeamRefusal::NoSuchInvitation)?;
    let body = axum::Json(InvitationEnvelope {
        invitation: InvitationObject::new(&id, sent, entropy::now()),
    });
    Ok((StatusCode::CREATED, body).into_response())
}

/// List the team's invitations.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/invitations",
    operation_id = "teams.invitation.list",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "Those neither accepted nor withdrawn", body = InvitationList),
    )
)]
pub(crate) async fn list_invitations(
    State(state): State<AccountApi>,
    member: Member<Admin>,
) -> axum::Json<InvitationList> {
    let now = entropy::now();
    let objects = |team: &waybill_domain::access::team::Team| {
        // Their ids begin with the time.
        let all = team.invitations.iter();
        all.map(|(id, invitation)| InvitationObject::new(id, invitation, now))
            .collect()
    };
    let directory = state.auth.directory();
    let invitations = directory.with_team(&member.team, objects);
    axum::Json(InvitationList {
        invitations: invitations.unwrap_or_default(),
    })
}

/// Read an invitation.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/invitations/{invitationId}",
    operation_id = "teams.invitation.get",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("invitationId" = String, Path, description = "Id of the invitation"),
    ),
    responses(
        (status = 200, description = "The invitation", body = InvitationEnvelope),
        (status = 404, description = "No such invitation, or it was accepted or withdrawn", body = ErrorBody),
    )
)]
pub(crate) async fn get_invitation(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<InvitationId>,
) -> Result<axum::Json<InvitationEnvelope>, ApiError> {
    let directory = state.auth.directory();
    let found = directory.with_team(&member.team, |team| {
        let invitation = team.invitations.get(&id)?;
        Some(InvitationObject::new(&id, invitation, entropy::now()))
    });
    let invitation = found.flatten().ok_or(TeamRefusal::NoSuchInvitation)?;
    Ok(axum::Json(InvitationEnvelope { invitation }))
}

/// Withdraw an invitation. The answer comes once it counts on every gateway.
#[utoipa::path(
    delete,
    path = "/teams/{teamId}/invitations/{invitationId}",
    operation_id = "teams.invitation.delete",
    tag = "teams",
    security(("session" = [])),
    params(
        ("teamId" = String, Path, description = "Id of the team"),
        ("invitationId" = String, Path, description = "Id of the invitation"),
    ),
    responses(
        (status = 204, description = "Withdrawn; it can no longer be accepted"),
        (status = 404, description = "No such invitation, or it was accepted or withdrawn", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn withdraw_invitation(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Id(id): Id<InvitationId>,
) -> Result<StatusCode, ApiError> {
    let withdraw = TeamCommand::WithdrawInvitation { invitation: id };
    super::take_away(&state, &member.team, withdraw, &member.by()).await?;
    Ok(StatusCode::NO_CONTENT)
}
