//! Jobs.

pub mod bulk;
pub mod cancel;
pub mod claim;
pub mod complete;
pub mod create;
pub mod fail;
pub mod get;
pub mod heartbeat;
pub mod history;
pub mod list;
pub mod priority;
pub mod progress;
pub mod retry;
pub mod settle;
pub mod stats;
pub mod status;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(create::create_job, list::list_jobs))
        .routes(routes!(bulk::create_jobs))
        .routes(routes!(claim::claim_jobs))
        .routes(routes!(stats::job_stats))
        .routes(routes!(status::job_statuses))
        .routes(routes!(get::get_job, cancel::cancel_job))
        .routes(routes!(history::job_history))
        .routes(routes!(retry::retry_job))
        .routes(routes!(priority::set_priority))
        .routes(routes!(complete::complete_job))
        .routes(routes!(fail::fail_job))
        .routes(routes!(heartbeat::heartbeat))
        .routes(routes!(heartbeat::renew_lease))
        .routes(routes!(progress::report_progress))
}
