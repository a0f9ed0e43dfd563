//! A team's plan: what it allows, how much of that is used, and changing it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::plan::{Plan, Policy};
use waybill_domain::access::team::vault::MAX_TOKENS;
use waybill_domain::access::team::{Team, TeamCommand};

use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::auth::Member;
use waybill_edge::auth::needs::{Owner, Viewer};
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};

/// A plan, and how much of it a team uses.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanObject {
    #[schema(example = "free")]
    name: String,
    /// Whether credentials of the team may call the API at all.
    api_access: bool,
    /// Which APIs its keys and applications may call: `tasks`, `jobs`, `market`, `waitlists`.
    api_faces: Vec<&'static str>,
    /// Longest `maxWaitTime` of a task.
    max_wait_seconds: u64,
    /// Bytes of the body of an answer that are kept when it ends a task.
    #[schema(example = 65536)]
    max_answer_bytes: u32,
    /// Longest lifetime of a key; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_key_lifetime_seconds: Option<u64>,
    /// Queues that tasks may be posted to within a day, on each gateway by itself; absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_queues: Option<u32>,
    keys: Share,
    /// Members, and open invitations, which count as such when somebody is invited.
    members: Share,
    /// Tokens in the vault, of both environments.
    tokens: Share,
    /// Invitations that can be accepted now.
    open_invitations: usize,
    /// Limits of requests: all apply together. Empty: none.
    policies: Vec<PolicyObject>,
    /// How many of its tasks start in a turn where teams take turns for the slots of a worker.
    #[schema(example = 1)]
    weight: u8,
}

/// How much of something is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct Share {
    used: usize,
    /// Absent: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
}

/// Whose requests a limit counts together.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
enum PolicyScope {
    Team,
    Key,
}

/// A limit of requests.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyObject {
    /// As in the header `RateLimit-Policy`.
    name: String,
    /// Whose requests are counted together: `team` or `key`.
    #[schema(value_type = PolicyScope)]
    scope: &'static str,
    /// Requests in a window.
    quota: u64,
    window_seconds: u64,
}

impl PolicyObject {
    fn new(policy: &Policy) -> Self {
        Self {
            name: policy.name.to_string(),
            scope: policy.scope.as_str(),
            quota: policy.q(),
            window_seconds: policy.window().as_secs(),
        }
    }
}

impl PlanObject {
    fn new(plan: &Plan, team: &Team) -> Self {
        let now = entropy::now();
        let open = team.invitations.values().filter(|i| now < i.expires_at);
        Self {
            name: plan.name.to_string(),
            api_access: plan.api_access,
            api_faces: plan.api_faces.iter().map(|api| api.as_str()).collect(),
            max_wait_seconds: plan.max_wait.as_secs(),
            max_answer_bytes: plan.max_answer_bytes,
            max_key_lifetime_seconds: plan.max_key_lifetime.map(|lifetime| lifetime.as_secs()),
            max_queues: plan.max_queues,
            keys: Share {
                used: team.counted_keys(now),
                limit: plan.max_keys,
            },
            members: Share {
                used: team.members.len(),
                limit: plan.max_members,
            },
            tokens: Share {
                used: team.counted_tokens(now),
                limit: Some(plan.max_tokens.unwrap_or(MAX_TOKENS)),
            },
            open_invitations: open.count(),
            weight: plan.weight,
            policies: plan
                .policies
                .iter()
                .map(|policy| PolicyObject::new(policy))
                .collect(),
        }
    }
}

/// `{"plan": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanEnvelope {
    plan: PlanObject,
}

/// A new plan.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    /// Name of the plan.
    #[schema(required = true)]
    plan: Option<String>,
}

/// Read what the team may use, and what of that it uses.
#[utoipa::path(
    get,
    path = "/teams/{teamId}/plan",
    operation_id = "teams.plan.get",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    responses(
        (status = 200, description = "The plan", body = PlanEnvelope),
    )
)]
pub(crate) async fn get_plan(
    State(state): State<AccountApi>,
    member: Member<Viewer>,
) -> Result<axum::Json<PlanEnvelope>, ApiError> {
    let look = |team: &Team| PlanObject::new(&member.plan, team);
    let plan = state.auth.directory().with_team(&member.team, look);
    let plan = plan.ok_or_else(ApiError::forbidden)?;
    Ok(axum::Json(PlanEnvelope { plan }))
}

/// Change the team's plan, where this installation lets owners do so.
///
/// Keys and members stay, also those that a smaller plan would not have room for. The answer comes once the plan counts on every
/// gateway.
#[utoipa::path(
    put,
    path = "/teams/{teamId}/plan",
    operation_id = "teams.plan.set",
    tag = "teams",
    security(("session" = [])),
    params(("teamId" = String, Path, description = "Id of the team")),
    request_body = ChangePlan,
    responses(
        (status = 200, description = "The plan now", body = PlanEnvelope),
        (status = 400, description = "A field is wrong or unknown, or there is no such plan", body = ErrorBody),
        (status = 403, description = "Not a team of the caller's, the role is too low, or only the operator changes plans", body = ErrorBody),
        (status = 503, description = "Stored, but not yet applied by every gateway; repeat after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_plan(
    State(state): State<AccountApi>,
    member: Member<Owner>,
    Json(request): Json<ChangePlan>,
) -> Result<axum::Json<PlanEnvelope>, ApiError> {
    let plan = request
        .plan
        .ok_or_else(|| ApiError::bad_field("plan", "plan is required"))?;
    if !state.config.plan_self_service {
        return Err(disabled(&member));
    }
    let command = TeamCommand::ChangePlan { plan };
    let after = super::take_away(&state, &member.team, command, &member.by()).await?;
    let info = after.state.info.as_ref().ok_or_else(ApiError::forbidden)?;
    let plan = state.config.plans.plan(&info.plan);
    Ok(axum::Json(PlanEnvelope {
        plan: PlanObject::new(plan, &after.state),
    }))
}

fn disabled(member: &Member<Owner>) -> ApiError {
    ApiError::new(
        http::StatusCode::FORBIDDEN,
        ErrorCode::PlanChangeDisabled,
        format!(
            "Plans of this installation are changed by its operator: waybill teams plan --team {} --plan NAME",
            member.team
        ),
    )
}
