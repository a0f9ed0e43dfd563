//! `GET /v1/targets`: the hosts that have a rule.

use axum::extract::State;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::ApiError;

use super::object::TargetList;

/// List the hosts that have a rule, and how they do.
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
    let rules = super::rules(&state, &caller).into_iter();
    let hosts = rules.map(|(host, rule)| (host, Some(rule))).collect();
    let targets = super::told(&state, &caller, hosts).await;
    Ok(axum::Json(TargetList { targets }))
}
