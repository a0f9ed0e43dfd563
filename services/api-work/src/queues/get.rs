//! `GET /v1/queues/{name}`: one queue.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::Queue;
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, Need, QueuesRead};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::{QueueEnvelope, QueueObject};
use super::statistics::Lately;
use super::{Answer, answer};

/// Read a queue: whether it is paused, by whom and why, its limits, how many tasks it has, and what happened in it lately.
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
    caller: Caller<InQueues<QueuesRead>>,
    Id(name): Id<QueueName>,
) -> Result<Answer, ApiError> {
    caller.may_use(&name)?;
    let (decided, queue) = look(&state, &caller, &name).await?;
    Ok(answer(decided.as_ref(), QueueEnvelope { queue }))
}

/// A queue as it stands, and what was decided about it.
pub(super) async fn look<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    name: &QueueName,
) -> Result<(Option<Queue>, QueueObject), ApiError> {
    let now = entropy::now();
    let decided = super::decided(state, caller, name);
    let drains = decided.as_ref().is_some_and(|queue| queue.drains(now));
    let min_seq = super::as_of(state, &caller.team, drains).await?;
    let counts = state
        .queries
        .queue_counters(&caller.team, name, min_seq)
        .await?;
    if counts.is_none() && decided.is_none() {
        return Err(ApiError::not_found("Queue not found"));
    }
    let lately = Lately::of_queue(state, &caller.team, name).await?;
    let environment = caller.team.environment();
    let queue = QueueObject::new(name, environment, decided.as_ref(), now);
    let queue = queue.counted(counts.as_ref()).with_statistics(&lately);
    Ok((decided, queue))
}
