//! `POST /v1/queues/{name}/resume`.

use axum::extract::State;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::error::ApiError;
use waybill_edge::path::Id;

use super::Answer;
use super::object::QueueEnvelope;

/// Resume a paused or drained queue: its tasks start again, in their order. A queue that is not paused stays as it is.
#[utoipa::path(
    post,
    path = "/v1/queues/{name}/resume",
    operation_id = "work.queue.resume",
    tag = "queues",
    security(("api_key" = ["queues:write"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "Not paused any more", body = QueueEnvelope),
    )
)]
pub(crate) async fn resume_queue(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(name): Id<QueueName>,
) -> Result<Answer, ApiError> {
    let command = QueueCommand::Resume {
        environment: caller.team.environment(),
        queue: name.clone(),
    };
    super::decide(&state, &caller, name, command).await
}
