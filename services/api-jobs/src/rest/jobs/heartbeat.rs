//! `POST /api/v1/jobs/{id}/heartbeat` and `/renew-lease`, which is the same.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::command::WorkerReport;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;

use super::settle::{Report, Settled, settle};
use crate::body::Body;
use crate::rules;

/// Shortest and longest lease, in seconds.
pub const LEASES: (i64, i64) = (5, 3_600);

/// A sign of life.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsHeartbeat {
    /// The worker that claimed the job.
    pub worker_id: String,
    /// The lease that the claim gave.
    pub lease_id: String,
    /// For how many seconds from now on the worker holds it. `extension_seconds` is an alias. A lease that lasts longer is not shortened.
    #[serde(alias = "extension_seconds")]
    #[schema(minimum = 5, maximum = 3600)]
    pub lease_duration_secs: i64,
}

/// The lease goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsExtended {
    pub success: bool,
    #[schema(value_type = String, format = DateTime)]
    pub lease_expires_at: Iso,
}

/// A length of a lease in milliseconds.
pub(super) fn lease_ms(secs: i64) -> u32 {
    u32::try_from(secs.saturating_mul(1_000)).unwrap_or(u32::MAX)
}

/// Extend the lease of a job that a worker holds.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/heartbeat",
    operation_id = "jobs.job.heartbeat",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsHeartbeat,
    responses(
        (status = 200, description = "It is extended", body = JobsExtended),
        (status = 404, description = "No such job, or another worker claimed it last", body = JobsErrorBody),
        (status = 409, description = "It has ended (`CONFLICT`), or the lease is over (`LEASE_EXPIRED`)", body = JobsErrorBody),
        (status = 422, description = "The body has not the shape, or no `lease_id`", body = JobsErrorBody),
    )
)]
pub(crate) async fn heartbeat(
    state: State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    id: Path<String>,
    body: Body<JobsHeartbeat>,
) -> Result<Response, ApiError> {
    answer(state, caller, id, body).await
}

/// Extend the lease of a job: the same as `/heartbeat`.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/renew-lease",
    operation_id = "jobs.job.renew_lease",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsHeartbeat,
    responses(
        (status = 200, description = "It is extended", body = JobsExtended),
        (status = 404, description = "No such job, or another worker claimed it last", body = JobsErrorBody),
        (status = 409, description = "It has ended (`CONFLICT`), or the lease is over (`LEASE_EXPIRED`)", body = JobsErrorBody),
        (status = 422, description = "The body has not the shape, or no `lease_id`", body = JobsErrorBody),
    )
)]
pub(crate) async fn renew_lease(
    state: State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    id: Path<String>,
    body: Body<JobsHeartbeat>,
) -> Result<Response, ApiError> {
    answer(state, caller, id, body).await
}

async fn answer(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsHeartbeat>,
) -> Result<Response, ApiError> {
    let extended = extend(&state, &caller, &id, &request).await?;
    Ok(ignored.answer(StatusCode::OK, extended))
}

/// Extends the lease of a job that a worker holds.
///
/// # Errors
/// If the worker does not hold it.
pub async fn extend(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    id: &str,
    request: &JobsHeartbeat,
) -> Result<JobsExtended, ApiError> {
    let secs = request.lease_duration_secs;
    rules::whole("lease_duration_secs", Some(secs), LEASES)?;
    let report = Report {
        job: id,
        worker: &request.worker_id,
        lease: &request.lease_id,
        what: WorkerReport::Progress {
            lease_ms: Some(lease_ms(secs)),
            percent: None,
            message: None,
        },
        lost: "Job lease expired and cannot be extended",
    };
    let Settled::Extended { lease_ms } = settle(state, caller, report).await? else {
        return Err(ApiError::internal(&"a heartbeat that ends a claim"));
    };
    let ends = entropy::now().plus(Duration::from_millis(lease_ms.into()));
    Ok(JobsExtended {
        success: true,
        lease_expires_at: Iso(ends),
    })
}
