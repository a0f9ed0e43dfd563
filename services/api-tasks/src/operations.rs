//! Operations: one thing done to many tasks, under `/v1/operations`.
//!
//! One file per endpoint that begins one: [`create`], [`preview`], [`undo`], and [`retry_many`], the short form for dead letters, and
//! [`purge`], those of a queue and of dead letters. [`filter`] is how tasks are named, [`aim`] which of them an action is for. The work
//! itself is done in the background by one gateway at a time: [`run`] holds the lease, `slice` does the next tasks, `item` one of them.
//! They are read and steered by the API of work.

pub mod aim;
pub mod create;
pub mod filter;
mod item;
pub mod preview;
mod priority;
pub mod purge;
pub mod retry_many;
pub mod run;
mod slice;
pub mod undo;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::TasksApi;

/// The routes that begin operations.
pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_operation))
        .routes(routes!(preview::preview_operation))
        .routes(routes!(retry_many::retry_dead_letters))
        .routes(routes!(purge::purge_queue))
        .routes(routes!(purge::purge_dead_letters))
        .routes(routes!(undo::undo_operation))
}
