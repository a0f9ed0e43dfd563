//! `DELETE /v1/workers/{name}`: a worker says goodbye.

use axum::extract::State;
use http::StatusCode;
use waybill_domain::command::OwnerRequest;
use waybill_domain::worker::{WorkerName, WorkersRequest};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// Deregister a worker: it is no longer listed.
///
/// What it still holds stays its own until the leases are over, and is listed until then; release it first. A drain of the name stays in
/// force. A worker that claims again is listed again.
#[utoipa::path(
    delete,
    path = "/v1/workers/{name}",
    operation_id = "work.worker.deregister",
    tag = "workers",
    security(("api_key" = ["jobs:write"])),
    params(
        ("name" = String, Path, description = "Name of the worker, as in its claims"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 204, description = "Nothing is known of it any more; also if nothing was"),
        (status = 503, description = "A partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn deregister_worker(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsWrite>>,
    Id(name): Id<WorkerName>,
) -> Result<StatusCode, ApiError> {
    caller.needs_api()?;
    let request = OwnerRequest::Workers(WorkersRequest::Forget {
        team: caller.team.clone(),
        worker: name,
    });
    state.owners.ask_all(&request).await?;
    Ok(StatusCode::NO_CONTENT)
}
