//! `GET /v1/targets`: the hosts that have a rule, or were opened.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::ApiError;

use super::object::TargetList;

/// List the hosts that have a rule or were opened by somebody, and how they do.
#[utoipa::path(
    get,
    path = "/v1/targets",
    operation_id = "work.target.list",
    tag = "targets",
    security(("api_key" = ["queues:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The hosts", body = TargetList),
    )
)]
pub(crate) async fn list_targets(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
) -> Result<axum::Json<TargetList>, ApiError> {
    let now = entropy::now();
    let mut hosts = super::rules(&state, &caller);
    // What was opened until a date that has come is closed.
    hosts.retain(|(_, target)| target.rule.is_some() || target.opened(now).is_some());
    let targets = super::told(&state, &caller, hosts).await;
    Ok(axum::Json(TargetList { targets }))
}
