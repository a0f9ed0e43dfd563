//! `GET /api/v1/workers/{id}`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::worker::WorkerName;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesRead};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::object::JobsWorker;
use super::{known, no_such_worker};
use crate::body::Ignored;

/// Read a worker that has registered.
#[utoipa::path(
    get,
    path = "/api/v1/workers/{id}",
    operation_id = "jobs.worker.get",
    tag = "jobs",
    security(("api_key" = ["queues:read"])),
    params(("id" = String, Path, description = "Id of the worker")),
    responses(
        (status = 200, description = "The worker", body = JobsWorker),
        (status = 404, description = "No such worker", body = JobsErrorBody),
    )
)]
pub(crate) async fn get_worker(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesRead>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let name = WorkerName::parse(&id).map_err(|_| no_such_worker())?;
    let workers = known(&state, &caller, Some(&name)).await?;
    let worker = workers.first().ok_or_else(no_such_worker)?;
    let worker = JobsWorker::new(worker, caller.team.base_str(), entropy::now());
    Ok(Ignored::default().answer(StatusCode::OK, worker))
}
