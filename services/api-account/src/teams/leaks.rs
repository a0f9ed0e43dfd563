//! The leak policy of a team: what happens to its keys that are found in the open.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::LeakPolicy;

use super::team::TeamEnvelope;
use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;
use waybill_edge::body::Json;
use waybill_edge::error::ApiError;

/// A leak policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeLeakPolicy {
    /// `revoke`: a reported key is refused at once. `warn`: the team's owners and admins are told.
    #[schema(required = true, value_type = Option<LeakPolicy>)]
    leak_policy: Option<String>,
}

/// Set what happens to leaked keys.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/leak-policy",
    operation_id = "teams.leak_policy.set",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangeLeakPolicy,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
    )
)]
pub(crate) async fn change_leak_policy(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Json(request): Json<ChangeLeakPolicy>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let wrong = |message: String| ApiError::bad_field("leakPolicy", message);
    let text = request
        .leak_policy
        .ok_or_else(|| wrong("leakPolicy is required".into()))?;
    let leaked_keys = LeakPolicy::parse(&text).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        wrong(format!("leakPolicy must be revoke or warn, not {shown:?}"))
    })?;
    let command = TeamCommand::ChangeLeakPolicy { leaked_keys };
    let after = state
        .control
        .run_team(&member.team, command, &member.by())
        .await?;
    state.settle(after.version).await?;
    TeamEnvelope::new(&after.state, &member.user)
}
