//! What happens to keys of a team that are found in the open.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::event::LeakPolicy;

use super::team::TeamEnvelope;
use crate::auth::Member;
use crate::auth::needs::Admin;
use crate::body::Json;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// What shall happen to leaked keys.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeLeakPolicy {
    /// `revoke`: a reported key is refused at once. `warn`: the team's owners and admins are told.
    #[schema(required = true)]
    leak_policy: Option<String>,
}

/// Decide what happens to leaked keys.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/leak-policy",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangeLeakPolicy,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
        (status = 400, description = "A field is wrong or unknown", body = ErrorBody),
        (status = 401, description = "Nobody is signed in", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, or the role does not reach", body = ErrorBody),
        (status = 429, description = "Too many requests; see Retry-After", body = ErrorBody),
        (status = 503, description = "The log does not answer; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_leak_policy(
    State(state): State<AppState>,
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
