//! `GET /v1/targets/{host}/health`: how one host does.

use axum::extract::State;
use waybill_domain::health::TargetHost;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::TargetEnvelope;

/// Tell how a host does: whether attempts start there, since when and why not, when it is probed, and how many tasks are held back.
///
/// Workers are asked, and the answer is what they know at that moment. A host that no task has called, or that never failed, is closed.
#[utoipa::path(
    get,
    path = "/v1/targets/{host}/health",
    operation_id = "work.target.get",
    tag = "targets",
    security(("api_key" = ["queues:read"])),
    params(
        ("host" = String, Path, description = "The host, with its port unless that is 80 or 443"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "How it does", body = TargetEnvelope),
        (status = 400, description = "No host", body = ErrorBody),
    )
)]
pub(crate) async fn get_target_health(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
    Id(host): Id<TargetHost>,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let rules = super::rules(&state, &caller);
    let target = rules.into_iter().find(|(of, _)| *of == host);
    let target = target.map(|(_, target)| target).unwrap_or_default();
    super::one(&state, &caller, host, target).await
}
