//! `GET /api/v1/auth/check-email`.
//!
//! It never tells whether somebody has an account: that would be a list of customers for whoever asks often enough.

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::access::email::Email;
use waybill_edge::Edge;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::query::Query;
use waybill_edge::request::RequestContext;
use waybill_identity::SignUpPolicy;

/// The address.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EmailParams {
    email: String,
}

/// What is told of an address.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsEmailCheck {
    /// Whether one may try to sign up with it.
    pub available: bool,
    /// Always `false`: who has an account is not told.
    pub exists: bool,
    pub signup_enabled: bool,
}

/// Tell whether one may try to sign up with an address.
#[utoipa::path(
    get,
    path = "/api/v1/auth/check-email",
    operation_id = "jobs.auth.check_email",
    tag = "jobs",
    params(EmailParams),
    responses(
        (status = 200, description = "Whether one may", body = JobsEmailCheck),
        (status = 400, description = "A parameter is wrong", body = JobsErrorBody),
    )
)]
pub(crate) async fn check_email(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Query(params): Query<EmailParams>,
) -> Result<axum::Json<JobsEmailCheck>, ApiError> {
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    if Email::parse(&params.email).is_err() {
        return Err(broken("email", "is not an email address", "pattern"));
    }
    let signup_enabled = state.people.sign_up == SignUpPolicy::Open;
    Ok(axum::Json(JobsEmailCheck {
        available: signup_enabled,
        exists: false,
        signup_enabled,
    }))
}
