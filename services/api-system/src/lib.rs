//! The API of the system: which processes an installation has, how far each is, and how full its streams are. For its operators.
//!
//! [`roll`] asks the processes, [`system`] is what is answered.

mod roll;
pub mod system;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(system::get_system))
}
