//! `POST /api/v1/auth/refresh`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_commands::entropy;
use waybill_domain::time::Timestamp;
use waybill_edge::Edge;
use waybill_edge::auth::key_session::standing;
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::request::RequestContext;
use waybill_identity::jwt::of_keys::{ACCESS_LIFETIME, KeySession, KeyTokenUse};

use super::issue;
use crate::body::{Body, secret};

/// The refresh token of a session.
#[derive(Deserialize, ToSchema)]
pub struct JobsRefresh {
    refresh_token: String,
}

/// A new access token of the same session.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsRefreshed {
    pub access_token: String,
    /// `Bearer`
    pub token_type: &'static str,
    /// Seconds until it expires.
    pub expires_in: u64,
}

/// Get a new access token.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    operation_id = "jobs.auth.refresh",
    tag = "jobs",
    request_body = JobsRefresh,
    responses(
        (status = 200, description = "A new access token", body = JobsRefreshed),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "The token is not accepted, or its session or key has ended", body = JobsErrorBody),
    )
)]
pub(crate) async fn refresh(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<JobsRefresh>,
) -> Result<Response, ApiError> {
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    state.auth.check_caught_up()?;
    state.fence.may_decide_soon().await?;
    let standing = standing(&state, &request.refresh_token, KeyTokenUse::Refresh).await;
    let standing = standing.filter(|(known, _)| known.key.may_come_from(context.source));
    let Some((known, claims)) = standing else {
        let limits = &context.limits;
        state.limiter.charge_failure(limits, context.source)?;
        return Err(ApiError::session_refused());
    };
    let begun = i64::try_from(claims.begun).unwrap_or(0);
    let session = KeySession {
        key: claims.sub,
        team: known.team,
        id: claims.sid,
        begun: Timestamp(begun.saturating_mul(1_000)),
    };
    let token = issue(&state, &session, KeyTokenUse::Access, entropy::now())?;
    let refreshed = JobsRefreshed {
        access_token: token,
        token_type: "Bearer",
        expires_in: ACCESS_LIFETIME.as_secs(),
    };
    Ok(secret(StatusCode::OK, refreshed))
}
