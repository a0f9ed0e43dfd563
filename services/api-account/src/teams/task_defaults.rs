//! The task defaults of a team and of its queues: what holds for a task that does not say otherwise.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::team::{
    OutcomeDefaults, QueueDefaultsChange, TaskDefaultsChange, TeamCommand,
};

use super::team::TeamEnvelope;
use crate::state::AccountApi;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::Admin;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

/// Changes of the task defaults. A field that is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangeTaskDefaults {
    /// Which answers are a success, such as `2xx` or `2xx,404`. An empty text restores the usual rule.
    #[schema(example = "2xx")]
    success: Option<String>,
    /// What is repeated, such as `["5xx", "timeout"]`. An empty list restores the usual rule.
    #[schema(max_items = 20, example = json!(["5xx", "timeout"]))]
    retry_on: Option<Vec<String>>,
    /// Pauses before the second and each further delivery of completion webhooks, in seconds: at most 20, each of at most three days. An empty
    /// list: the usual ones again (5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h).
    #[schema(max_items = 20, example = json!([5, 300, 3600]))]
    webhook_retry_seconds: Option<Vec<u32>>,
    /// By the name of a queue: what holds for its tasks before what holds for the team. Queues that are not named stay as they are; `null` or `{}`
    /// makes a queue like the team again. At most 100 queues have defaults of their own.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, QueueTaskDefaults>)]
    queues: BTreeMap<String, Option<QueueTaskDefaults>>,
}

/// The defaults of one queue. A field that is left out is as for the team.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QueueTaskDefaults {
    /// Which answers are a success, such as `2xx` or `2xx,404`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2xx,404")]
    success: Option<String>,
    /// What is repeated, such as `["5xx", "timeout"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 20, example = json!(["5xx", "timeout"]))]
    retry_on: Option<Vec<String>>,
}

impl From<&OutcomeDefaults> for QueueTaskDefaults {
    fn from(outcome: &OutcomeDefaults) -> Self {
        Self {
            success: outcome.success.as_ref().map(ToString::to_string),
            retry_on: outcome.retry_on.as_ref().map(|on| on.as_slice().to_vec()),
        }
    }
}

/// Set the defaults of tasks that do not say otherwise.
///
/// A task's own `success` and `retryOn` take precedence over those of its queue, and those over the team's. They hold for tasks that are created
/// from then on, in whatever way.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/task-defaults",
    operation_id = "teams.task_defaults.set",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangeTaskDefaults,
    responses(
        (status = 200, description = "The team as it is now", body = TeamEnvelope),
        (status = 503, description = "Stored but not applied here yet, or not stored; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn change_task_defaults(
    State(state): State<AccountApi>,
    member: Member<Admin>,
    Json(request): Json<ChangeTaskDefaults>,
) -> Result<axum::Json<TeamEnvelope>, ApiError> {
    let queues = request.queues.into_iter().map(|(name, wanted)| {
        let wanted = wanted.unwrap_or_default();
        let change = QueueDefaultsChange {
            success: wanted.success,
            retry_on: wanted.retry_on,
        };
        (name, change)
    });
    let command = TeamCommand::ChangeTaskDefaults(Box::new(TaskDefaultsChange {
        success: request.success,
        retry_on: request.retry_on,
        webhook_pauses: request.webhook_retry_seconds,
        queues: queues.collect(),
    }));
    let by = member.by();
    let after = state.control.run_team(&member.team, command, &by).await?;
    state.settle(after.version).await?;
    TeamEnvelope::new(&after.state, &member.user)
}
