//! `POST /api/v1/workflows/{id}/cancel`: what has not started is cancelled.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_jobs::body::OptionalBody;
use waybill_api_jobs::owner;
use waybill_api_jobs::rest::Nothing;
use waybill_api_tasks::TasksApi;
use waybill_api_workflows::find::find_now;
use waybill_api_workflows::object::tally;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::task::Status;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::owners::no_owner;
use waybill_projector::query::Flow;

use super::find;
use super::object::JobsWorkflow;

/// Cancel a workflow: its jobs that have not started, all in one decision. Those that a worker holds go on.
#[utoipa::path(
    post,
    path = "/api/v1/workflows/{id}/cancel",
    operation_id = "jobs.workflow.cancel",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the workflow, a UUID")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "No job of it starts any more", body = JobsWorkflow),
        (status = 404, description = "No such workflow", body = JobsErrorBody),
        (status = 409, description = "It has ended", body = JobsErrorBody),
    )
)]
pub(crate) async fn cancel_workflow(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let (id, flow) = find(&state, &caller, &id).await?;
    let status = tally(&flow).status();
    let waiting = waiting(&flow);
    let Some(first) = waiting.first() else {
        if flow.members.iter().all(|of| of.status.is_terminal()) {
            let text = format!("Workflow is already {}", status.as_str());
            return Err(ApiError::conflict(ErrorCode::Conflict, text));
        }
        let shown = JobsWorkflow::of(&id, &flow);
        return Ok(ignored.answer(StatusCode::OK, shown));
    };
    let together = OwnerRequest::CancelTogether {
        tasks: waiting.clone(),
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(caller.context().traceparent.to_string()),
    };
    let is_done = match owner::ask(&state, first.partition(), &together).await? {
        OwnerReply::Done { seq } | OwnerReply::AlreadyRequested { seq } => {
            state.acknowledge(&caller.context().position, &caller.team, seq);
            true
        }
        // They have ended meanwhile, or have not been read yet.
        _ => false,
    };
    let flow = find_now(&state, &caller.team, &id).await?;
    if !is_done
        && self::waiting(&flow)
            .iter()
            .any(|task| waiting.contains(task))
    {
        return Err(no_owner());
    }
    Ok(ignored.answer(StatusCode::OK, JobsWorkflow::of(&id, &flow)))
}

/// The tasks that have not started.
fn waiting(flow: &Flow) -> Vec<TaskId> {
    let waits = |status| matches!(status, Status::Pending | Status::Delayed);
    let waiting = flow.members.iter().filter(|of| waits(of.status));
    waiting.map(|member| member.task).collect()
}
