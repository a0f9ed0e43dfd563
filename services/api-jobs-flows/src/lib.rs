//! The part of the jobs API that makes jobs by itself or lets them wait for each other: schedules, under `/api/v1/schedules`, and
//! workflows, under `/api/v1/workflows`.
//!
//! There is one engine: a schedule made here is seen in `/v1/schedules` and is run by the same runner, a workflow in `/v1/workflows`. What
//! Spooled's clients send is translated here, and what is there is read in their words.

pub mod schedules;
pub mod workflows;

use utoipa_axum::router::OpenApiRouter;
use waybill_api_tasks::TasksApi;

/// The routes of the jobs API: those of this part, and all others.
#[must_use]
pub fn router() -> OpenApiRouter<TasksApi> {
    waybill_api_jobs::router()
        .merge(schedules::router())
        .merge(workflows::router())
}
