//! `GET /api/v1/admin/plans`.

use axum::extract::State;
use waybill_domain::access::plan::jobs::JobsLimits;
use waybill_edge::Edge;
use waybill_edge::auth::admin_key::Administrator;
use waybill_edge::error::JobsErrorBody;

use crate::usage::JobsPlanLimits;

/// List what the tiers allow.
#[utoipa::path(
    get,
    path = "/api/v1/admin/plans",
    operation_id = "jobs.admin.plans",
    tag = "jobs",
    params(("X-Admin-Key" = String, Header, description = "The key of administrators")),
    responses(
        (status = 200, description = "The tiers, from the narrowest to the widest", body = Vec<JobsPlanLimits>),
        (status = 401, description = "Administration is not configured, or the key is missing or wrong", body = JobsErrorBody),
    )
)]
pub(crate) async fn list_plans(
    State(state): State<Edge>,
    _administrator: Administrator,
) -> axum::Json<Vec<JobsPlanLimits>> {
    let shown = JobsLimits::ALL.iter().map(|limits| {
        let name = JobsLimits::plan_of(limits.tier).unwrap_or_default();
        JobsPlanLimits::new(limits, state.config.plans.plan(name))
    });
    axum::Json(shown.collect())
}
