//! Dead letters that are tried again, under `/v1/dead-letters`: one by [`retry`], many by operations.

pub mod retry;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::TasksApi;

/// The routes of dead letters.
pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new().routes(routes!(retry::retry_dead_letter))
}
