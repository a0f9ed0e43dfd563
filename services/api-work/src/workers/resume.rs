//! `POST /v1/workers/{name}/resume`: a drained worker gets tasks again.

use axum::extract::State;
use waybill_domain::access::team::workers::WorkerCommand;
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::WorkerEnvelope;

/// End the drain of a worker. Nothing changes if nobody drains it.
#[utoipa::path(
    post,
    path = "/v1/workers/{name}/resume",
    operation_id = "work.worker.resume",
    tag = "workers",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the worker, as in its claims"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "It gets tasks again", body = WorkerEnvelope),
        (status = 503, description = "It is uncertain whether every gateway knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn resume_worker(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(name): Id<WorkerName>,
) -> Result<axum::Json<WorkerEnvelope>, ApiError> {
    let command = WorkerCommand::Resume {
        environment: caller.team.environment(),
        worker: name.clone(),
    };
    super::decide(&state, &caller, &name, command).await
}
