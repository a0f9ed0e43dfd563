//! Operations that were begun: one thing done to many tasks. The tasks API begins them and does the work; here they are read and steered.
//!
//! One file per endpoint: [`list`], [`get`], [`steer`] (pause, resume, cancel).

pub mod get;
pub mod list;
pub mod steer;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_edge::Edge;

/// The routes that read and steer operations.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_operations))
        .routes(routes!(get::get_operation))
        .routes(routes!(steer::pause_operation))
        .routes(routes!(steer::resume_operation))
        .routes(routes!(steer::cancel_operation))
}
