//! `POST /api/v1/jobs/{id}/fail`.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::command::WorkerReport;
use waybill_domain::task::pull::MAX_MESSAGE_CHARS;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::settle::{Report, Settled, settle};
use crate::body::Body;
use crate::{find, rules};

/// A failed job.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsFail {
    /// The worker that claimed it.
    pub worker_id: String,
    /// The lease that the claim gave.
    pub lease_id: String,
    /// Why, for people: 1 to 2048 characters. `reason` is an alias.
    #[serde(alias = "reason")]
    #[schema(min_length = 1, max_length = 2048)]
    pub error: String,
    /// `true`: it is a dead letter now, however many retries are left.
    #[schema(default = false)]
    pub no_retry: Option<bool>,
}

/// The failure was stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsFailed {
    pub success: bool,
    /// Whether it is tried again.
    pub will_retry: bool,
    /// Seconds until then, rounded up; `null` if it is not.
    pub next_retry_delay_secs: Option<u64>,
}

/// Report that a job failed that a worker holds.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/fail",
    operation_id = "jobs.job.fail",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = JobsFail,
    responses(
        (status = 200, description = "It is stored", body = JobsFailed),
        (status = 404, description = "No such job, or another worker claimed it last", body = JobsErrorBody),
        (status = 409, description = "It has ended (`CONFLICT`), or the lease is over (`LEASE_EXPIRED`); nothing was changed", body = JobsErrorBody),
        (status = 422, description = "The body has not the shape, or no `lease_id`", body = JobsErrorBody),
    )
)]
pub(crate) async fn fail_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsFail>,
) -> Result<Response, ApiError> {
    let failed = fail(&state, &caller, &id, request).await?;
    Ok(ignored.answer(StatusCode::OK, failed))
}

/// Reports that a job failed that a worker holds.
///
/// # Errors
/// If the worker does not hold it, or its sentence is too long.
pub async fn fail(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    id: &str,
    request: JobsFail,
) -> Result<JobsFailed, ApiError> {
    let length = request.error.chars().count();
    if !(1..=MAX_MESSAGE_CHARS).contains(&length) {
        let text = format!("must be 1 to {MAX_MESSAGE_CHARS} characters, not {length}");
        return Err(rules::broken("error", text, "length"));
    }
    let report = Report {
        job: id,
        worker: &request.worker_id,
        lease: &request.lease_id,
        what: WorkerReport::Fail {
            message: request.error,
            retry: !request.no_retry.unwrap_or(false),
        },
        lost: "Job lease expired before failure was reported",
    };
    let settled = settle(state, caller, report).await?;
    let mut failed = JobsFailed {
        success: true,
        will_retry: false,
        next_retry_delay_secs: None,
    };
    if let Settled::Reported { seq, retries: true } = settled {
        failed.will_retry = true;
        let found = find::as_of(state, caller, id, seq).await?;
        // It may be due by now.
        let pause = found
            .row()
            .retry_at
            .map_or(Duration::ZERO, |at| at.since(entropy::now()));
        let secs = pause.as_millis().div_ceil(1_000);
        failed.next_retry_delay_secs = u64::try_from(secs).ok();
    }
    Ok(failed)
}
