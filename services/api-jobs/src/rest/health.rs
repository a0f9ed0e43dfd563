//! `/health` and below it: `/healthz` and `/readyz` as clients of this API ask for them. They lie at the root, and take no credential.

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_log::Stream;

/// When the process began to serve this API.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    LazyLock::force(&BEGUN);
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// Whether everything is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobsHealthStatus {
    Healthy,
    /// Something is not: `/readyz?verbose` says what.
    Degraded,
}

/// How the gateway does.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsHealth {
    pub status: JobsHealthStatus,
    pub version: &'static str,
    /// Whether requests can be decided about, and the log took the last append.
    pub database: bool,
    /// The same: there is no cache beside the log.
    pub cache: bool,
    pub uptime_seconds: u64,
}

/// Whether requests should come here.
fn serves(state: &TasksApi) -> bool {
    let failed = state.log.last_append_failed(Stream::Tasks);
    !state.stopping.is_cancelled()
        && state.auth.is_caught_up()
        && state.fence.may_decide().is_ok()
        && failed.is_none_or(|failed| !failed.counts())
}

/// Tell how the gateway does. The answer is 200 also when it is degraded.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "jobs.health.get",
    tag = "jobs",
    responses((status = 200, description = "How it does", body = JobsHealth))
)]
pub(crate) async fn health(State(state): State<TasksApi>) -> axum::Json<JobsHealth> {
    let serves = serves(&state);
    let status = if serves && state.room.check().is_ok() {
        JobsHealthStatus::Healthy
    } else {
        JobsHealthStatus::Degraded
    };
    axum::Json(JobsHealth {
        status,
        version: env!("CARGO_PKG_VERSION"),
        database: serves,
        cache: serves,
        uptime_seconds: BEGUN.elapsed().as_secs(),
    })
}

/// Tell that the process is alive.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "jobs.health.live",
    tag = "jobs",
    responses((status = 200, description = "It is"))
)]
pub(crate) async fn live() -> StatusCode {
    StatusCode::OK
}

/// Tell whether requests should come here.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "jobs.health.ready",
    tag = "jobs",
    responses(
        (status = 200, description = "They should"),
        (status = 503, description = "Not now", body = ErrorBody),
    )
)]
pub(crate) async fn ready(State(state): State<TasksApi>) -> Result<Response, ApiError> {
    if serves(&state) {
        return Ok(StatusCode::OK.into_response());
    }
    let text = "The gateway is starting or stopping, or the log does not take appends";
    Err(ApiError::unavailable(ErrorCode::NotReady, text))
}
