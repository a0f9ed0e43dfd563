//! The calls, in a folder for each resource.

pub mod dlq;
pub mod health;
pub mod jobs;
pub mod queues;
pub mod workers;

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use waybill_api_tasks::TasksApi;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .merge(jobs::router())
        .merge(dlq::router())
        .merge(health::router())
        .merge(queues::router())
        .merge(workers::router())
}

/// A body that says nothing: none, or any object.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = JobsNothing)]
pub struct Nothing {}
