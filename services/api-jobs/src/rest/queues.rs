//! Queues: a queue exists by its jobs, or by a decision about it.

pub mod config;
pub mod delete;
pub mod list;
pub mod pause;
pub mod resume;
pub mod stats;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;
use waybill_domain::access::team::{Queue, Team};
use waybill_domain::id::QueueName;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_projector::query::QueueCounts;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(list::list_queues))
        .routes(routes!(config::get_queue, delete::delete_queue))
        .routes(routes!(config::configure_queue))
        .routes(routes!(stats::queue_stats))
        .routes(routes!(pause::pause_queue))
        .routes(routes!(resume::resume_queue))
}

/// A queue as it stands: what was decided about it, and its tasks by status.
pub(crate) struct Found {
    pub(crate) name: QueueName,
    pub(crate) decided: Option<Queue>,
    pub(crate) counts: Option<QueueCounts>,
}

fn no_such_queue() -> ApiError {
    ApiError::not_found("Queue not found")
}

/// A queue that exists and that the caller may use.
pub(crate) async fn find<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    name: &str,
) -> Result<Found, ApiError> {
    let name = QueueName::parse(name).map_err(|_| no_such_queue())?;
    crate::permission::named(caller, &name)?;
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.queue(environment, &name).cloned();
    let directory = state.auth.directory();
    let decided = directory.with_team(&caller.team.base(), of_team).flatten();
    let min_seq = state.acknowledged.to(&caller.team);
    let counts = state.queries.queue_counters(&caller.team, &name, min_seq);
    let counts = counts.await?;
    if counts.is_none() && decided.is_none() {
        return Err(no_such_queue());
    }
    Ok(Found {
        name,
        decided,
        counts,
    })
}
