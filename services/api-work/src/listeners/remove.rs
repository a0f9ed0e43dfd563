//! `DELETE /v1/listeners/{id}`: a listener is forgotten.

use axum::extract::State;
use http::StatusCode;
use waybill_domain::access::team::listeners::ListenerCommand;
use waybill_domain::id::ListenerId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// Forget a listener: its queues and hosts need nobody who listens any more, unless another listener names them. What waited starts.
#[utoipa::path(
    delete,
    path = "/v1/listeners/{id}",
    operation_id = "work.listener.remove",
    tag = "listeners",
    security(("api_key" = ["jobs:write"])),
    params(
        ("id" = String, Path, description = "Id of the listener"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, which must be `test`"),
    ),
    responses(
        (status = 204, description = "It is forgotten; also if it was before"),
        (status = 503, description = "It is uncertain whether every worker knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn remove_listener(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(listener): Id<ListenerId>,
) -> Result<StatusCode, ApiError> {
    let command = ListenerCommand::Remove {
        listener: listener.clone(),
    };
    super::decide(&state, &caller, &listener, command).await?;
    Ok(StatusCode::NO_CONTENT)
}
