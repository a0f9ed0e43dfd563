//! Dead letters: tasks that failed for good, under `/v1/dead-letters`. One file per endpoint: [`list`], and [`groups`] by their causes. The
//! API of tasks tries them again. There is no queue of them beside the tasks: a dead letter is a task whose end says so.

pub mod groups;
pub mod list;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::task::Status;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;
use waybill_edge::filters::{Conditions, boolean, given};
use waybill_projector::query::TaskFilter;

/// The routes of dead letters.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_dead_letters))
        .routes(routes!(groups::group_dead_letters))
}

/// Finds the dead letters under these conditions; without those that were tried again, unless `retried` is `true`.
fn dead(conditions: &Conditions<'_>, retried: Option<&str>) -> Result<TaskFilter, ApiError> {
    let retried = given(retried)
        .map(|text| boolean("retried", text))
        .transpose()?;
    Ok(TaskFilter {
        statuses: vec![Status::Failed, Status::Timeout],
        dead: true,
        replayed: (retried != Some(true)).then_some(false),
        ..conditions.filter()?
    })
}
