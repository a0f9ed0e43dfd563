//! How the credentials of a team are guarded.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;

use super::team::TeamEnvelope;
use crate::auth::Member;
use crate::auth::needs::Admin;
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// How credentials shall be guarded. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeVaultPolicy {
    /// Headers of tasks whose values are sealed, beside `Authorization`, `Cookie`, `Proxy-Authorization` and `X-Api-Key`; at most 20.
    #[schema(max_items = 20)]
    sealed_headers: Option<Vec<String>>,
    /// Whether new tokens of the vault must name the hosts that they may be sent to.
    require_allowed_hosts: Option<bool>,
}

/// Decide how the team's credentials are guarded.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/vault-policy",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangeVaultPolicy,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, or the role does not reach", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not known everywhere: repeat it; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_vault_policy(
    State(state): State<AppState>,
    member: Member<Admin>,
    Json(request): Json<ChangeVaultPolicy>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let command = TeamCommand::ChangeVaultPolicy {
        sealed_headers: request.sealed_headers,
        require_allowed_hosts: request.require_allowed_hosts,
    };
    let after = super::take_away(&state, &member.team, command, &member.by()).await?;
    TeamEnvelope::new(&after.state, &member.user)
}
