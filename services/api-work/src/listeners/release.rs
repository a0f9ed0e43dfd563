//! `POST /v1/listeners/{id}/release`: somebody ceases to listen. By the time of the answer, nothing starts that would need it.

use axum::extract::State;
use waybill_domain::access::team::TeamRefusal;
use waybill_domain::access::team::listeners::ListenerCommand;
use waybill_domain::id::ListenerId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::ListenerEnvelope;

/// Give the lease of a listener back: after the answer no attempt starts in its queues and at its hosts, unless another listener holds a
/// lease for them.
///
/// Attempts that run go on. The listener is remembered, so that tasks wait; to have them start without anybody who listens, delete it.
#[utoipa::path(
    post,
    path = "/v1/listeners/{id}/release",
    operation_id = "work.listener.release",
    tag = "listeners",
    security(("api_key" = ["jobs:write"])),
    params(
        ("id" = String, Path, description = "Id of the listener"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, which must be `test`"),
    ),
    responses(
        (status = 200, description = "It holds no lease; also if it held none before", body = ListenerEnvelope),
        (status = 404, description = "The team has no such listener, or another one took its place", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows of it; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn release_listener(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(listener): Id<ListenerId>,
) -> Result<axum::Json<ListenerEnvelope>, ApiError> {
    let command = ListenerCommand::Release {
        listener: listener.clone(),
    };
    let released = super::decide(&state, &caller, &listener, command).await?;
    released.ok_or_else(|| TeamRefusal::NoSuchListener.into())
}
