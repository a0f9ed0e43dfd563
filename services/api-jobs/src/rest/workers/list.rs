//! `GET /api/v1/workers`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesRead};
use waybill_edge::error::ApiError;

use super::known;
use super::object::JobsWorkerSummary;
use crate::body::Ignored;

/// List the workers that have registered, by their ids.
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    operation_id = "jobs.worker.list",
    tag = "jobs",
    security(("api_key" = ["queues:read"])),
    responses((status = 200, description = "The workers", body = Vec<JobsWorkerSummary>))
)]
pub(crate) async fn list_workers(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesRead>>,
) -> Result<Response, ApiError> {
    let (workers, now) = (known(&state, &caller, None).await?, entropy::now());
    let shown: Vec<_> = workers
        .iter()
        .map(|worker| JobsWorkerSummary::new(worker, now))
        .collect();
    Ok(Ignored::default().answer(StatusCode::OK, shown))
}
