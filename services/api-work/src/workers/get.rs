//! `GET /v1/workers/{name}`: one worker, with what it holds.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::JobsRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::{WorkerEnvelope, WorkerObject};
use waybill_edge::workers::drain_of;

/// Read a worker: how it does, which tasks it holds until when, and whether somebody drains it.
#[utoipa::path(
    get,
    path = "/v1/workers/{name}",
    operation_id = "work.worker.get",
    tag = "workers",
    security(("api_key" = ["jobs:read"])),
    params(
        ("name" = String, Path, description = "Name of the worker, as in its claims"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The worker", body = WorkerEnvelope),
        (status = 404, description = "Nothing was heard of it for an hour, it holds nothing, and nobody drains it", body = ErrorBody),
        (status = 503, description = "A partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn get_worker(
    State(state): State<Edge>,
    caller: Caller<JobsRead>,
    Id(name): Id<WorkerName>,
) -> Result<axum::Json<WorkerEnvelope>, ApiError> {
    let (mut known, _) = super::known(&state, &caller, Some(&name)).await?;
    let known = known.remove(name.as_str()).unwrap_or_default();
    let drain = drain_of(&state, &caller, &name);
    if !known.is_known() && drain.is_none() {
        return Err(ApiError::not_found("Worker not found"));
    }
    Ok(axum::Json(WorkerEnvelope {
        worker: WorkerObject::new(name.as_str(), known, drain.as_ref(), entropy::now()),
        warnings: Vec::new(),
    }))
}
