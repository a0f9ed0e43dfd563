//! `POST /api/v1/workflows/{id}/retry`: what failed of a workflow is done again, with what was cancelled because of it.

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::OptionalBody;
use waybill_api_jobs::rest::Nothing;
use waybill_api_jobs::rest::jobs::retry::remove;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, limits};
use waybill_api_workflows::find::find_now;
use waybill_api_workflows::object::tally;
use waybill_api_workflows::retry::retry;
use waybill_domain::workflow::FlowStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::request::RequestContext;

use super::find;
use super::object::{JobsWorkflow, views};

/// Retry a workflow that has failed.
///
/// Its jobs that failed are pending again, and so are those that were cancelled because of them. What has completed stays so.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/retry",
    operation_id = "jobs.workflow.retry",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the workflow, a UUID")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It runs again", body = JobsWorkflow),
        (status = 404, description = "No such workflow", body = JobsErrorBody),
        (status = 409, description = "It has not failed", body = JobsErrorBody),
    )
)]
pub(crate) async fn retry_workflow(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let (id, _) = find(&state, &caller, &id).await?;
    let flow = find_now(&state, &caller.team, &id).await?;
    if tally(&flow).status() != FlowStatus::Failed {
        let text = "Only failed workflows can be retried";
        return Err(ApiError::conflict(ErrorCode::Conflict, text));
    }
    let before = views(&state, &caller.team, &flow).await?;
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let of = (&caller.team, &id);
    let again = retry(&state, &accepting, &limits, of, &flow).await?;
    for view in before.iter().filter(|view| again.contains(&view.row.id)) {
        remove(&state, &caller, &view.row).await?;
    }
    let flow = find_now(&state, &caller.team, &id).await?;
    Ok(ignored.answer(StatusCode::OK, JobsWorkflow::of(&id, &flow)))
}
