//! Billing: Waybill has no provider of it, and says so.

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::KeysWrite;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};

use crate::body::Body;
use crate::organizations::object::{JobsOrganization, Secrets};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(get_status))
        .routes(routes!(open_portal))
}

/// How an organisation is billed.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsBillingStatus {
    /// `free`, `starter`, `pro` or `enterprise`.
    pub plan_tier: &'static str,
    /// Whether an administrator noted a customer of Stripe.
    pub has_stripe_customer: bool,
    pub stripe_subscription_id: Option<String>,
    /// Not known: `null`, as the next two.
    pub stripe_subscription_status: Option<String>,
    pub stripe_current_period_end: Option<String>,
    pub stripe_cancel_at_period_end: Option<bool>,
}

/// Where to come back to.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsOpenPortal {
    return_url: String,
}

/// Tell how the organisation is billed.
#[utoipa::path(
    get,
    path = "/api/v1/billing/status",
    operation_id = "jobs.billing.status",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    responses((status = 200, description = "What is known of it", body = JobsBillingStatus))
)]
pub(crate) async fn get_status(
    State(state): State<Edge>,
    caller: Caller<KeysWrite>,
) -> Result<axum::Json<JobsBillingStatus>, ApiError> {
    let team = caller.team.base();
    let found = JobsOrganization::find(&state, &team, Secrets::Hidden)?;
    Ok(axum::Json(JobsBillingStatus {
        plan_tier: found.plan_tier,
        has_stripe_customer: found.stripe_customer_id.is_some(),
        stripe_subscription_id: found.stripe_subscription_id,
        stripe_subscription_status: None,
        stripe_current_period_end: None,
        stripe_cancel_at_period_end: None,
    }))
}

/// Open the pages of the billing provider: there is none.
#[utoipa::path(
    post,
    path = "/api/v1/billing/portal",
    operation_id = "jobs.billing.portal",
    tag = "jobs",
    security(("api_key" = ["keys:write"])),
    request_body = JobsOpenPortal,
    responses(
        (status = 400, description = "`return_url` lies outside the allowed origins", body = JobsErrorBody),
        (status = 503, description = "There is no billing provider", body = JobsErrorBody),
    )
)]
pub(crate) async fn open_portal(
    State(state): State<Edge>,
    _caller: Caller<KeysWrite>,
    Body(request): Body<JobsOpenPortal>,
) -> Result<Response, ApiError> {
    let url = &request.return_url;
    let is_of = |origin: &String| {
        let rest = url.strip_prefix(origin.as_str());
        origin == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if !state.config.cors_origins.iter().any(is_of) {
        let text = "must lie below one of the origins of gateway.cors_origins";
        return Err(broken("return_url", text, "invalid"));
    }
    let text = "No billing provider is configured";
    Err(ApiError::unavailable(ErrorCode::NotReady, text))
}
