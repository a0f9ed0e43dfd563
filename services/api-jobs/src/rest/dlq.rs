//! Dead letters: jobs that have failed for good.

pub mod list;
pub mod purge;
pub mod retry;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(list::list_letters))
        .routes(routes!(retry::retry_letters))
        .routes(routes!(purge::purge_letters))
}
