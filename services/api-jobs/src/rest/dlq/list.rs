//! `GET /api/v1/jobs/dlq`.

use axum::extract::State;
use axum::response::Response;
use waybill_api_tasks::TasksApi;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{DlqRead, InQueues};
use waybill_edge::error::ApiError;
use waybill_edge::lenient::LenientQuery;

use crate::body::Ignored;
use crate::models::summary::JobsSummary;
use crate::rest::jobs::list::{JobsListParams, answer, page};

/// List dead letters. `status` is ignored: all of them are `deadletter`.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/dlq",
    operation_id = "jobs.letter.list",
    tag = "jobs",
    security(("api_key" = ["dlq:read"])),
    params(JobsListParams),
    responses(
        (status = 200, description = "A page of dead letters", body = Vec<JobsSummary>, headers(("X-Has-More" = bool, description = "Whether another page follows"))),
    )
)]
pub(crate) async fn list_letters(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<DlqRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsListParams>,
) -> Result<Response, ApiError> {
    let page = page(&state, &caller, params, vec![JobStatus::Deadletter]).await?;
    Ok(answer(&page, Ignored::of(warnings)))
}
