//! The native API of work: how the tasks of a team are started.
//!
//! - [`queues`]: which queues there are, and what holds their tasks back.
//! - [`targets`]: how the called hosts do, and when tasks are held back because one fails.
//! - [`limits`]: limits that tasks of several queues share.
//! - [`operations`]: what is done to many tasks at once, once it was begun.
//! - [`dead_letters`]: which tasks have failed for good, and why.
//! - [`claims`]: what workers of a team pull, and report.
//! - [`workers`]: which workers there are, what they hold, and draining them.
//! - [`listeners`]: for whom tasks of the test environment wait.
//! - [`views`]: filters of lists that people saved.
//! - [`stats`]: what happened to tasks, over time.
//! - [`captures`]: what the calls of a task sent and were answered.

pub mod captures;
pub mod claims;
pub mod dead_letters;
pub mod limits;
pub mod listeners;
pub mod operations;
pub mod queues;
pub mod stats;
mod tag;
pub mod targets;
pub mod views;
pub mod workers;

use utoipa_axum::router::OpenApiRouter;
use waybill_edge::Edge;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(queues::router())
        .merge(targets::router())
        .merge(limits::router())
        .merge(operations::router())
        .merge(stats::router())
        .merge(claims::router())
        .merge(workers::router())
        .merge(listeners::router())
        .merge(dead_letters::router())
        .merge(views::router())
        .merge(captures::router())
}
