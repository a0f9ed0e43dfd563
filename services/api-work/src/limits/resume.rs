//! `POST /v1/limits/{key}/resume`.

use axum::extract::State;
use waybill_domain::access::team::limits::LimitCommand;
use waybill_domain::id::LimitKey;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::error::ApiError;
use waybill_edge::path::Id;

use super::Answer;
use super::object::LimitEnvelope;

/// Resume a paused limit: tasks with its key start again, in their order. A limit that is not paused stays as it is.
#[utoipa::path(
    post,
    path = "/v1/limits/{key}/resume",
    operation_id = "work.limit.resume",
    tag = "limits",
    security(("api_key" = ["queues:write"])),
    params(
        ("key" = String, Path, description = "Key of the limit"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "Not paused any more", body = LimitEnvelope),
    )
)]
pub(crate) async fn resume_limit(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(key): Id<LimitKey>,
) -> Result<Answer, ApiError> {
    let command = LimitCommand::Resume {
        environment: caller.team.environment(),
        key: key.clone(),
    };
    super::decide(&state, &caller, key, command).await
}
