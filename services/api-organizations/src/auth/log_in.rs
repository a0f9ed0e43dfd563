//! `POST /api/v1/auth/login`.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_edge::Edge;
use waybill_edge::auth::Recognition;
use waybill_edge::error::rules::broken;
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::request::RequestContext;

use super::{JobsTokens, begin};
use crate::body::{Body, secret};

const MIN_KEY_CHARS: usize = 10;

/// A key to log in with.
#[derive(Deserialize, ToSchema)]
pub struct JobsLogIn {
    /// At least 10 characters.
    #[schema(min_length = 10)]
    api_key: String,
}

/// Log in with an API key.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    operation_id = "jobs.auth.log_in",
    tag = "jobs",
    request_body = JobsLogIn,
    responses(
        (status = 200, description = "The tokens of a session", body = JobsTokens),
        (status = 400, description = "A member is wrong or unknown", body = JobsErrorBody),
        (status = 401, description = "The key is not accepted", body = JobsErrorBody),
    )
)]
pub(crate) async fn log_in(
    State(state): State<Edge>,
    Extension(context): Extension<RequestContext>,
    Body(request): Body<JobsLogIn>,
) -> Result<Response, ApiError> {
    if request.api_key.chars().count() < MIN_KEY_CHARS {
        let text = format!("must be at least {MIN_KEY_CHARS} characters");
        return Err(broken("api_key", text, "length"));
    }
    state
        .limiter
        .admit_source(&context.limits, context.source)?;
    state.auth.check_caught_up()?;
    state.fence.may_decide_soon().await?;
    let brands = &state.config.key_brands;
    match state.auth.recognise(&request.api_key, brands) {
        Recognition::Known(known) if known.key.may_come_from(context.source) => {
            let tokens = begin(&state, known.key.created.key.clone(), known.team)?;
            Ok(secret(StatusCode::OK, tokens))
        }
        Recognition::PepperMissing => Err(ApiError::unavailable(
            ErrorCode::AuthorizationUnavailable,
            "This key cannot be checked at the moment; try again later",
        )),
        Recognition::Known(_) | Recognition::Ended(_) | Recognition::Refused => {
            let limits = &context.limits;
            state.limiter.charge_failure(limits, context.source)?;
            Err(ApiError::key_refused())
        }
    }
}
