//! `POST /api/v1/auth/validate`: whether an access token is good, with 200 also for rubbish.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_edge::Edge;
use waybill_edge::auth::key_session::standing;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::request::RequestContext;
use waybill_identity::jwt::of_keys::KeyTokenUse;

use crate::body::{Body, secret};

/// A token to look at.
#[derive(Deserialize, ToSchema)]
pub struct JobsValidate {
    token: String,
}

/// Whether a token is good.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct JobsTokenCheck {
    pub valid: bool,
    /// `invalid_token`, of one that is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<JobsClaims>,
}

/// What a good token says.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsClaims {
    pub org_id: String,
    /// The same.
    pub organization_id: String,
    pub api_key_id: String,
    /// The queues that the key is limited to now.
    pub queues: Vec<String>,
    /// Expires at, in seconds since 1970.
    pub exp: u64,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
}

/// Look at an access token.
#[utoipa::path(
    post,
    path = "/api/v1/auth/validate",
    operation_id = "jobs.auth.validate",
    tag = "jobs",
    request_body = JobsValidate,
    responses(
        (status = 200, description = "Whether it is good", body = JobsTokenCheck),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
    )
)]
pub(crate) async fn validate(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<JobsValidate>,
) -> Result<Response, ApiError> {
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    state.auth.check_caught_up()?;
    state.fence.may_decide_soon().await?;
    let checked = match standing(&state, &request.token, KeyTokenUse::Access).await {
        Some((known, claims)) => JobsTokenCheck {
            valid: true,
            claims: Some(JobsClaims {
                org_id: known.team.base().to_string(),
                organization_id: known.team.base().to_string(),
                api_key_id: claims.sub.to_string(),
                queues: known
                    .key
                    .created
                    .queues
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                exp: claims.exp,
                iat: claims.iat,
            }),
            ..JobsTokenCheck::default()
        },
        None => {
            // It answers 200, yet it is a guess like any other.
            state.limiter.source_failed(context.source);
            JobsTokenCheck {
                error: Some("invalid_token"),
                message: Some("The token is invalid or has expired"),
                ..JobsTokenCheck::default()
            }
        }
    };
    Ok(secret(StatusCode::OK, checked))
}
