//! The native API of work: how the tasks of a team are started.
//!
//! - [`queues`]: which queues there are, and what holds their tasks back.
//! - [`targets`]: how the called hosts do, and when tasks are held back because one fails.

pub mod queues;
pub mod targets;

use utoipa_axum::router::OpenApiRouter;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(queues::router())
        .merge(targets::router())
}
