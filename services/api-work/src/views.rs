//! Saved views: the filters of a list of the dashboard, under a name, of a team or of a person.
//!
//! One file per endpoint; [`object`] is a view as clients see it.

pub mod delete;
pub mod list;
pub mod object;
pub mod save;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::id::UserId;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::principal::Principal;

/// The routes about views.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_views, save::save_view))
        .routes(routes!(delete::delete_view))
}

/// The person who asks; `None`: a key or an application.
fn person<N: Need>(caller: &Caller<N>) -> Option<&UserId> {
    match &caller.principal {
        Principal::User { user, .. } => Some(user),
        Principal::Key(_) | Principal::App { .. } => None,
    }
}
