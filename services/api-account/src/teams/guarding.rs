//! The vault policy of a team: how its credentials are protected.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;

use super::team::TeamEnvelope;
use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

/// Changes of the vault policy. A field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeVaultPolicy {
    /// Headers of tasks whose values are sealed, beside `Authorization`, `Cookie`, `Proxy-Authorization` and `X-Api-Key`; at most 20.
    #[schema(max_items = 20)]
    sealed_headers: Option<Vec<String>>,
    /// Whether new tokens of the vault must name the hosts that they may be sent to.
    require_allowed_hosts: Option<bool>,
}

/// Set how the team's credentials are protected.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/vault-policy",
    operation_id = "teams.vault_policy.set",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangeVaultPolicy,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_vault_policy(
    State(state): State<AccountApi>,
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
