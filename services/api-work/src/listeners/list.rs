//! `GET /v1/listeners`: who listens to what.

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::Team;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::ApiError;

use super::object::{ListenerList, ListenerObject};

/// List the listeners of the test environment, also those whose lease is over.
///
/// A queue or host waits if it is in this list and no listener for it is `listening`. In the live environment the list is empty.
#[utoipa::path(
    get,
    path = "/v1/listeners",
    operation_id = "work.listener.list",
    tag = "listeners",
    security(("api_key" = ["jobs:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, which must be `test`"),
    ),
    responses(
        (status = 200, description = "The listeners", body = ListenerList),
    )
)]
pub(crate) async fn list_listeners(
    State(state): State<Edge>,
    caller: Caller<InQueues<JobsRead>>,
) -> Result<axum::Json<ListenerList>, ApiError> {
    if super::in_test(&caller).is_err() {
        let listeners = Vec::new();
        return Ok(axum::Json(ListenerList { listeners }));
    }
    let now = entropy::now();
    let of_team = |team: &Team| {
        let listeners = team.listeners.iter();
        let shown = listeners.filter(|(_, listener)| super::is_shown(&caller, listener));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_by_key(|(id, listener)| (listener.since, *id));
        let objects = shown.into_iter();
        let objects = objects.map(|(id, listener)| ListenerObject::new(id, listener, now));
        objects.collect()
    };
    let directory = state.auth.directory();
    let listeners = directory.with_team(&caller.team.base(), of_team);
    Ok(axum::Json(ListenerList {
        listeners: listeners.unwrap_or_default(),
    }))
}
