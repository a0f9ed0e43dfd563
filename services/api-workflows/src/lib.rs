//! Workflows: tasks that are made together, of which some run after others, under `/v1/workflows`.
//!
//! One file per endpoint. [`request`] is what a client sends, [`object`] what it gets, `read` how requests become members, `store` how
//! these are made: all of them in one append, or none. When a member runs is decided by the owner of its partition, and is in the core.

pub mod cancel;
pub mod create;
pub mod find;
pub mod get;
pub mod list;
pub mod object;
mod read;
pub mod request;
pub mod retry;
pub mod store;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;

/// The routes of this API.
#[must_use]
pub fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_workflow, list::list_workflows))
        .routes(routes!(get::get_workflow))
        .routes(routes!(cancel::cancel_workflow))
        .routes(routes!(retry::retry_workflow))
}
