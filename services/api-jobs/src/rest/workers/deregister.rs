//! `POST /api/v1/workers/{id}/deregister`.

use axum::extract::{Path, State};
use axum::response::Response;
use waybill_api_tasks::TasksApi;
use waybill_domain::worker::WorkerName;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::workers::beat;

use super::{no_such_worker, registration};
use crate::body::OptionalBody;
use crate::rest::Nothing;

/// Deregister a worker: it is shown as `offline` for an hour. What it holds stays its own until the leases are over.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/deregister",
    operation_id = "jobs.worker.deregister",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the worker")),
    request_body = Option<Nothing>,
    responses(
        (status = 204, description = "It is offline"),
        (status = 404, description = "It has not registered", body = JobsErrorBody),
    )
)]
pub(crate) async fn deregister_worker(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    deregister(&state, &caller, &id).await?;
    Ok(ignored.empty())
}

/// Deregisters a worker.
///
/// # Errors
/// 404 if it has not registered.
pub async fn deregister(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    id: &str,
) -> Result<(), ApiError> {
    caller.needs_api()?;
    let name = WorkerName::parse(id).map_err(|_| no_such_worker())?;
    let mut registration = registration(state, caller, &name).await?;
    registration.left = true;
    beat(state, caller, &name, registration).await
}
