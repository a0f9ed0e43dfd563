//! `GET /v1/limits`: the limits of the team.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_domain::command::MAX_STANDINGS;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::{ApiError, ErrorBody};

use super::object::{LimitList, LimitObject, Standing};

/// List the limits that are set or paused, and those of tasks that run or wait to start.
#[utoipa::path(
    get,
    path = "/v1/limits",
    operation_id = "work.limit.list",
    tag = "limits",
    security(("api_key" = ["queues:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The limits", body = LimitList),
        (status = 503, description = "A partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn list_limits(
    State(state): State<Edge>,
    caller: Caller<QueuesRead>,
) -> Result<axum::Json<LimitList>, ApiError> {
    let (environment, now) = (caller.team.environment(), entropy::now());
    let mut standings = super::standings(&state, &caller, None).await?;
    standings.retain(|_, standing| standing.is_in_use());
    let truncated = standings.len() >= MAX_STANDINGS;
    let of_team = |team: &Team| team.limits.clone();
    let directory = state.auth.directory();
    let decided = directory.with_team(&caller.team.base(), of_team);
    let mut decided = decided.unwrap_or_default();
    decided.retain(|(of, _), limit| {
        *of == environment && (limit.pin.is_some() || limit.paused(now).is_some())
    });
    for (_, key) in decided.keys() {
        standings.entry(key.clone()).or_default();
    }
    let shown = standings.iter().map(|(key, standing): (_, &Standing)| {
        let limit = decided.get(&(environment, key.clone()));
        LimitObject::new(key, environment, limit, Some(standing), now)
    });
    Ok(axum::Json(LimitList {
        limits: shown.collect(),
        truncated,
    }))
}
