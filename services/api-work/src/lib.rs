//! The native API of work: how the tasks of a team are started.
//!
//! - [`queues`]: which queues there are, and what holds their tasks back.
//! - [`targets`]: how the called hosts do, and when tasks are held back because one fails.
//! - [`limits`]: limits that tasks of several queues share.
//! - [`stats`]: what happened to tasks, over time.

pub mod limits;
pub mod queues;
pub mod stats;
mod tag;
pub mod targets;

use utoipa_axum::router::OpenApiRouter;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(queues::router())
        .merge(targets::router())
        .merge(limits::router())
        .merge(stats::router())
}
