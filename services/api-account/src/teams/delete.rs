//! `DELETE /teams/{teamId}`: the end of a team.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_domain::access::team::{Team, TeamCommand};

use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Owner;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::query::Query;
use waybill_edge::vault::shred;

/// Confirms the deletion.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DeleteTeam {
    /// The team's name, as it is now.
    #[param(required = true)]
    confirm: Option<String>,
}

/// Delete a team for good. Nobody belongs to it any more, its keys and applications are refused, and the keys of its vault are erased.
///
/// Tasks that are open run on, without anything from the vault.
#[utoipa::path(
    delete,
    path = "/teams/{teamId}",
    operation_id = "teams.team.delete",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team"), DeleteTeam),
    responses(
        (status = 204, description = "Deleted, on every gateway"),
        (status = 400, description = "`confirm` is not the team's name", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn delete_team(
    State(state): State<AccountApi>,
    member: Member<Owner>,
    Query(sure): Query<DeleteTeam>,
) -> Result<StatusCode, ApiError> {
    let name = |team: &Team| Some(team.info.as_ref()?.name.clone());
    let directory = state.auth.directory();
    let name = directory.with_team(&member.team, name).flatten();
    if name.is_none() || sure.confirm != name {
        let message = "confirm must be the team's name: deleting it cannot be undone";
        return Err(ApiError::bad_field("confirm", message));
    }
    let by = member.by();
    let after = super::take_away(&state, &member.team, TeamCommand::Delete, &by).await?;
    let unshredded = after.state.tokens.values();
    for token in unshredded.filter(|token| token.shredded.is_none()) {
        let shredded = shred(&state, &member.team, token.environment, &token.id).await;
        if let Err(error) = shredded {
            // The tokens are unusable all the same; the janitor erases the keys that are left.
            tracing::warn!(token = %token.id, %error, "some vault tokens of a deleted team are not shredded yet; the janitor completes it");
            break;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
