//! `DELETE /v1/views/{id}`: a view is deleted.

use axum::extract::State;
use http::StatusCode;
use waybill_domain::access::team::views::ViewCommand;
use waybill_domain::access::team::{Team, TeamCommand};
use waybill_domain::id::ViewId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::path::Id;

/// Delete a view: one of your own, or one that the team shares.
#[utoipa::path(
    delete,
    path = "/v1/views/{id}",
    operation_id = "work.view.delete",
    tag = "views",
    security(("api_key" = ["tasks:write"])),
    params(
        ("id" = String, Path, description = "Id of the view"),
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
    ),
    responses(
        (status = 204, description = "It is deleted"),
        (status = 404, description = "The team has no such view, or it is somebody else's own", body = ErrorBody),
    )
)]
pub(crate) async fn delete_view(
    State(state): State<Edge>,
    caller: Caller<TasksWrite>,
    Id(view): Id<ViewId>,
) -> Result<StatusCode, ApiError> {
    let team = caller.team.base();
    let is_seen = |team: &Team| {
        let mut seen = team.views_of(super::person(&caller));
        seen.any(|known| known.view == view)
    };
    let is_there = state.auth.directory().with_team(&team, is_seen);
    if !is_there.unwrap_or_default() {
        return Err(ApiError::not_found("View not found"));
    }
    let command = TeamCommand::View(ViewCommand::Delete {
        environment: caller.team.environment(),
        view: view.clone(),
    });
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle(after.version).await?;
    Ok(StatusCode::NO_CONTENT)
}
