//! `GET /v1/queues/{name}`: one queue.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::{QueueEnvelope, QueueObject};

/// Read a queue: whether it is paused, by whom and why, its limits, and how many tasks it has.
#[utoipa::path(
    get,
    path = "/v1/queues/{name}",
    operation_id = "work.queue.get",
    tag = "queues",
    security(("api_key" = ["queues:read"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The queue", body = QueueEnvelope),
        (status = 404, description = "No task names this queue in the caller's environment, and nothing was decided about it", body = ErrorBody),
    )
)]
pub(crate) async fn get_queue(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
    Id(name): Id<QueueName>,
) -> Result<axum::Json<QueueEnvelope>, ApiError> {
    let min_seq = state.acknowledged.to(&caller.team);
    let counts = state
        .queries
        .queue_counters(&caller.team, &name, min_seq)
        .await?;
    let decided = super::decided(&state, &caller, &name);
    if counts.is_none() && decided.is_none() {
        return Err(ApiError::not_found("Queue not found"));
    }
    let environment = caller.team.environment();
    let queue = QueueObject::new(&name, environment, decided.as_ref(), entropy::now());
    let queue = queue.counted(counts.as_ref());
    Ok(axum::Json(QueueEnvelope { queue }))
}
