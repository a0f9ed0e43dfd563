//! Administration of all organisations, by `X-Admin-Key`.

mod change;
mod list;
mod plans;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::TeamId;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;

use crate::organizations::no_such_organization;

pub use change::{JobsAdminCreate, JobsAdminUpdate};
pub use list::{JobsAdminList, JobsAdminOrganization, JobsAdminUsage};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_all, change::create_for_admin))
        .routes(routes!(
            list::get_one,
            change::update_for_admin,
            change::replace_for_admin,
            change::delete_for_admin
        ))
        .routes(routes!(change::create_key_for_admin))
        .routes(routes!(plans::list_plans))
}

/// A team that was not deleted, by its id.
fn find(state: &Edge, id: &str) -> Result<TeamId, ApiError> {
    let id = TeamId::parse(id)
        .map_err(|_| no_such_organization())?
        .base();
    let is_there = |team: &waybill_domain::access::team::Team| team.is_there();
    if state.auth.directory().with_team(&id, is_there) == Some(true) {
        Ok(id)
    } else {
        Err(no_such_organization())
    }
}
