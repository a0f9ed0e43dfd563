//! `GET /v1/views`: the views of the team and of whoever asks.

use axum::extract::State;
use waybill_domain::access::team::Team;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::error::ApiError;

use super::object::{ViewList, ViewObject};

/// List the saved views: those that the team shares, and your own.
///
/// There are at most 100 that a team shares, and 50 of a person in a team.
#[utoipa::path(
    get,
    path = "/v1/views",
    operation_id = "work.view.list",
    tag = "views",
    security(("api_key" = ["tasks:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
    ),
    responses(
        (status = 200, description = "The views", body = ViewList),
    )
)]
pub(crate) async fn list_views(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
) -> Result<axum::Json<ViewList>, ApiError> {
    let of_team = |team: &Team| {
        let mut views: Vec<_> = team.views_of(super::person(&caller)).collect();
        views.sort_by(|a, b| (&a.name, &a.view).cmp(&(&b.name, &b.view)));
        views.into_iter().map(ViewObject::new).collect()
    };
    let directory = state.auth.directory();
    let views = directory.with_team(&caller.team.base(), of_team);
    Ok(axum::Json(ViewList {
        views: views.unwrap_or_default(),
    }))
}
