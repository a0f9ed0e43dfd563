//! Who sees the bodies and headers of a team's tasks.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;

use super::team::TeamEnvelope;
use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Owner;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

/// Who sees them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangePayloadPolicy {
    /// Whether viewers see the bodies and headers of tasks and of their answers. Members, admins, owners, and keys and applications that read tasks always do.
    #[schema(required = true)]
    viewers_see_payloads: Option<bool>,
}

/// Set whether viewers see the bodies and headers of tasks. They do not unless an owner says so.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/payload-policy",
    operation_id = "teams.payload_policy.set",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangePayloadPolicy,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_payload_policy(
    State(state): State<AccountApi>,
    member: Member<Owner>,
    Json(request): Json<ChangePayloadPolicy>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let viewers_see_payloads = request.viewers_see_payloads.ok_or_else(|| {
        ApiError::bad_field("viewersSeePayloads", "viewersSeePayloads is required")
    })?;
    let command = TeamCommand::ChangePayloadPolicy {
        viewers_see_payloads,
    };
    let after = super::take_away(&state, &member.team, command, &member.by()).await?;
    TeamEnvelope::new(&after.state, &member.user)
}
