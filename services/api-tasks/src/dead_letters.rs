//! Dead letters: tasks that failed for good, under `/v1/dead-letters`. One file per endpoint: [`list`], [`groups`] by their causes, and
//! [`retry`]. There is no queue of them beside the tasks: a dead letter is a task whose end says so.

pub mod groups;
pub mod list;
pub mod retry;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::TasksApi;

/// The routes of dead letters.
pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(list::list_dead_letters))
        .routes(routes!(groups::group_dead_letters))
        .routes(routes!(retry::retry_dead_letter))
}
