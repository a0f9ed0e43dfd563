//! `POST /v1/targets/{host}/close`.

use axum::extract::State;
use waybill_domain::access::team::targets::TargetCommand;
use waybill_domain::health::TargetHost;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

use super::object::TargetEnvelope;

/// Close a host: all that is held there goes on, in its order.
///
/// It ends what `open` began. What failed until now counts no more for the rule of the host, which stays: it is judged anew, and one that was
/// disabled is called again.
#[utoipa::path(
    post,
    path = "/v1/targets/{host}/close",
    operation_id = "work.target.close",
    tag = "targets",
    security(("api_key" = ["queues:write"])),
    params(
        ("host" = String, Path, description = "The host, with its port unless that is 80 or 443"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "Closed", body = TargetEnvelope),
        (status = 400, description = "No host", body = ErrorBody),
        (status = 503, description = "It is uncertain whether every worker knows; repeat the request", body = ErrorBody),
    )
)]
pub(crate) async fn close_target(
    State(state): State<Edge>,
    caller: Caller<QueuesWrite>,
    Id(host): Id<TargetHost>,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let command = TargetCommand::Close {
        environment: caller.team.environment(),
        host: host.clone(),
    };
    super::decide(&state, &caller, host, command).await
}
