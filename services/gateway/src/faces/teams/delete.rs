//! The end of a team.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_domain::access::team::{Team, TeamCommand};

use crate::auth::Member;
use crate::auth::needs::Owner;
use crate::error::{ApiError, ErrorBody};
use crate::query::Query;
use crate::state::AppState;
use crate::vault::shred;

/// Says that it is meant.
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
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team"), DeleteTeam),
    responses(
        (status = 204, description = "It is no more, on every gateway"),
        (status = 400, description = "`confirm` is not the team's name", body = ErrorBody),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, or the role does not reach", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known everywhere: repeat it; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn delete_team(
    State(state): State<AppState>,
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
            // Nothing uses any of them from now on; the janitor goes on with their keys.
            tracing::warn!(token = %token.id, %error, "tokens of a deleted team are not all shredded yet");
            break;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
