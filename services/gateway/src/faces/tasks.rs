//! The native face: tasks as AsyncQueue's clients know them, under `/v1/tasks`.
//!
//! One file per endpoint. [`request`] is what a client sends, [`object`] what it gets, [`lookup`] how a task is found and told apart
//! from another team's, [`idempotency`] how a repeated creation becomes the first one again.

pub mod batch;
pub mod cancel;
pub mod create;
pub mod get;
pub mod idempotency;
pub mod list;
pub mod lookup;
pub mod object;
pub mod request;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes of this face.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create::create_task, list::list_tasks))
        .routes(routes!(batch::create_tasks))
        .routes(routes!(get::get_task, cancel::delete_task))
        .routes(routes!(cancel::cancel_task))
}
