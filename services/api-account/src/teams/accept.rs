//! Accepting an invitation.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::access::token::TokenKind;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::InvitationId;

use super::team::TeamEnvelope;
use crate::state::AccountApi;
use waybill_edge::auth::SignedIn;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

/// The token of an invitation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptInvitation {
    /// As it stands in the mail.
    #[schema(required = true, example = "wb_inv_...")]
    token: Option<String>,
}

/// Accept an invitation that was sent to the caller's own address.
///
/// A token that is malformed, unknown, used, withdrawn or out of date, or was sent to somebody else, is answered alike. A member who
/// repeats the request that made them one gets the same answer again.
#[utoipa::path(
    post,
    path = "/v1/invitations/accept",
    operation_id = "teams.invitation.accept",
    tag = "teams",
    security(("session" = [])),
    request_body = AcceptInvitation,
    responses(
        (status = 200, description = "The team that the caller belongs to now", body = TeamEnvelope),
        (status = 403, description = "No person, or the plan of the team has no room", body = ErrorBody),
        (status = 404, description = "No invitation that the caller could accept", body = ErrorBody),
        (status = 409, description = "The caller belongs to the team already", body = ErrorBody),
    )
)]
pub(crate) async fn accept_invitation(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<AcceptInvitation>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let token = request
        .token
        .ok_or_else(|| ApiError::bad_field("token", "token is required"))?;
    let presented = state.people.presented(TokenKind::Invitation, &token);
    let (token, proof) = presented.ok_or(TeamRefusal::NoSuchInvitation)?;
    let invitation =
        InvitationId::from_ulid(token.ulid()).map_err(|_| TeamRefusal::NoSuchInvitation)?;
    let control = &state.control;
    let last = control.last_of_invitation(&invitation).await?;
    let last = last.ok_or(TeamRefusal::NoSuchInvitation)?;
    let team = last.team().cloned().ok_or(TeamRefusal::NoSuchInvitation)?;
    if matches!(&last, ControlEvent::InvitationAccepted(e) if e.user == person.user) {
        let known = control.team(&team).await?;
        return match known.role_of(&person.user) {
            Some(_) => TeamEnvelope::new(&known, &person.user),
            None => Err(TeamRefusal::NoSuchInvitation.into()),
        };
    }
    let stored = control.team(&team).await?.invitations.remove(&invitation);
    let stored = stored.ok_or(TeamRefusal::NoSuchInvitation)?;
    if !proof.is_of(&stored.mac, stored.pepper_version) {
        return Err(TeamRefusal::NoSuchInvitation.into());
    }
    let known = state.auth.directory().user(&person.user);
    let who = known.as_ref().and_then(|user| user.who.as_ref());
    let who = who.ok_or(TeamRefusal::NoSuchInvitation)?;
    let accept = TeamCommand::AcceptInvitation {
        invitation,
        user: person.user.clone(),
        email_hash: who.email_hash.clone(),
    };
    let after = control.run_team(&team, accept, &person.by()).await?;
    state.settle(after.version).await?;
    TeamEnvelope::new(&after.state, &person.user)
}
