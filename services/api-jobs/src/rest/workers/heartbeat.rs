//! `POST /api/v1/workers/{id}/heartbeat`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::worker::WorkerName;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::workers::beat;

use super::object::JobsWorkerStatus;
use super::register::metadata;
use super::{is_drained, no_such_worker, registration};
use crate::body::Body;
use crate::rules;

/// What a worker may say of itself. `offline` it says by deregistering.
const STATUSES: [&str; 4] = ["healthy", "degraded", "draining", "offline"];

/// A sign of life.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsWorkerBeat {
    /// Jobs that it works on. What is shown is what it holds leases of.
    #[schema(minimum = 0)]
    pub current_jobs: i64,
    /// `healthy`, `degraded` or `draining`, which stays until it registers anew; without it, as before.
    #[schema(value_type = Option<JobsWorkerStatus>)]
    pub status: Option<String>,
    /// Any JSON of up to 4 KiB; without it, as before.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
}

/// It was heard.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsBeatHeard {
    pub acknowledged: bool,
    /// It should finish what it holds, and stop.
    pub should_drain: bool,
}

/// Tell that a worker is alive.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/heartbeat",
    operation_id = "jobs.worker.heartbeat",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the worker")),
    request_body = JobsWorkerBeat,
    responses(
        (status = 200, description = "It was heard", body = JobsBeatHeard),
        (status = 404, description = "It has not registered, or not since the owner of its partition changed: it should register", body = JobsErrorBody),
    )
)]
pub(crate) async fn worker_heartbeat(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    Body(request, ignored): Body<JobsWorkerBeat>,
) -> Result<Response, ApiError> {
    let heard = hear(&state, &caller, &id, request).await?;
    Ok(ignored.answer(StatusCode::OK, heard))
}

/// Takes a sign of life of a worker.
///
/// # Errors
/// 404 if it has not registered.
pub async fn hear(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    id: &str,
    request: JobsWorkerBeat,
) -> Result<JobsBeatHeard, ApiError> {
    caller.needs_api()?;
    rules::whole("current_jobs", Some(request.current_jobs), (0, i64::MAX))?;
    let status = request.status.filter(|status| !status.is_empty());
    if status
        .as_deref()
        .is_some_and(|status| !STATUSES.contains(&status))
    {
        let text = format!("must be one of {}", STATUSES.join(", "));
        return Err(rules::broken("status", text, "pattern"));
    }
    let said = metadata(request.metadata)?;
    let name = WorkerName::parse(id).map_err(|_| no_such_worker())?;
    let mut registration = registration(state, caller, &name).await?;
    let drains = registration.status.as_deref() == Some("draining");
    // Whoever drains goes on to drain until it registers anew.
    if !drains {
        registration.status = status.or(registration.status);
    }
    registration.metadata = said.or(registration.metadata);
    let drains = registration.status.as_deref() == Some("draining");
    beat(state, caller, &name, registration).await?;
    Ok(JobsBeatHeard {
        acknowledged: true,
        should_drain: drains || is_drained(state, caller, name.as_str()),
    })
}
