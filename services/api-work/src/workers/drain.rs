//! `POST /v1/workers/{name}/drain`. By the time of the answer, no gateway gives the worker anything any more.

use axum::extract::State;
use waybill_domain::access::team::workers::WorkerCommand;
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::WorkerEnvelope;
use crate::queues::pause::{PauseQueue, until};

/// Drain a worker: it is given nothing after the answer.
///
/// It keeps what it holds, and hears of the drain by `draining` in the answers to its claims and heartbeats, and by `drain` when it beats.
/// The drain is about the name: it outlives the process, and only `resume` or the date of `until` ends it. Draining a worker that drains
/// states the drain anew. The worker need not be known.
#[utoipa::path(
    post,
    path = "/v1/workers/{name}/drain",
    operation_id = "work.worker.drain",
    tag = "workers",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the worker, as in its claims"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<PauseQueue>,
    responses(
        (status = 200, description = "It gets nothing any more; `state` is `drained` when it holds nothing either", body = WorkerEnvelope),
        (status = 503, description = "It is uncertain whether every gateway knows of the drain; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn drain_worker(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(name): Id<WorkerName>,
    OptionalJson(request): OptionalJson<PauseQueue>,
) -> Result<axum::Json<WorkerEnvelope>, ApiError> {
    let command = WorkerCommand::Drain {
        environment: caller.team.environment(),
        worker: name.clone(),
        reason: request.reason,
        until: request.until.as_deref().map(until).transpose()?,
    };
    super::decide(&state, &caller, &name, command).await
}
