//! `GET /v1/workers`: the workers of the team.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::JobsRead;
use waybill_edge::error::{ApiError, ErrorBody};

use super::object::{WorkerList, WorkerObject};

/// List the workers that pull: how they do, how many tasks they hold, and when they were last heard of.
///
/// A worker is listed by claiming; it need not register. One of which nothing is heard for an hour is forgotten, unless it is drained.
#[utoipa::path(
    get,
    path = "/v1/workers",
    operation_id = "work.worker.list",
    tag = "workers",
    security(("api_key" = ["jobs:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The workers", body = WorkerList),
        (status = 503, description = "A partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn list_workers(
    State(state): State<Edge>,
    caller: Caller<JobsRead>,
) -> Result<axum::Json<WorkerList>, ApiError> {
    let (environment, now) = (caller.team.environment(), entropy::now());
    let (mut known, truncated) = super::known(&state, &caller, None).await?;
    let of_team = |team: &Team| team.draining.clone();
    let directory = state.auth.directory();
    let draining = directory.with_team(&caller.team.base(), of_team);
    let mut draining = draining.unwrap_or_default();
    draining.retain(|(of, _), drain| *of == environment && !drain.is_over(now));
    let mut drains = std::collections::BTreeMap::new();
    for ((_, worker), drain) in draining {
        known.entry(worker.to_string()).or_default();
        drains.insert(worker.to_string(), drain);
    }
    let shown = known.into_iter().map(|(name, known)| {
        WorkerObject::new(&name, known, drains.get(&name), now).without_claims()
    });
    Ok(axum::Json(WorkerList {
        workers: shown.collect(),
        truncated,
    }))
}
