//! `POST /v1/workflows/{id}/cancel`: whatever of a workflow has not ended is cancelled.

use axum::Extension;
use axum::extract::State;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::decided::{Decided, ask_to_change};
use waybill_domain::command::OwnerRequest;
use waybill_domain::id::{TaskId, WorkflowId};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::owners::no_owner;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_projector::query::Flow;

use crate::find::{find, find_now};
use crate::object::{WorkflowEnvelope, WorkflowObject, tally};

/// Cancel a workflow: whatever of it has not ended.
///
/// All of its tasks that have not ended are cancelled in one decision, or none. Those that wait end at once. A running call is cut off, and its
/// target may or may not have acted on it; until that has ended, the workflow is still `running` in the answer. What has completed stays so.
/// A cancelled workflow cannot be retried, unless a task of it had failed.
#[utoipa::path(
    post,
    path = "/v1/workflows/{id}/cancel",
    operation_id = "workflows.workflow.cancel",
    tag = "workflows",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the workflow")),
    responses(
        (status = 200, description = "No task of it starts any more", body = WorkflowEnvelope),
        (status = 404, description = "The team has no such workflow in this environment", body = ErrorBody),
        (status = 409, description = "All of its tasks have ended already", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; repeat the request after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn cancel_workflow(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<WorkflowId>,
) -> Result<axum::Json<WorkflowEnvelope>, ApiError> {
    let flow = find(&state, &caller.team, &id).await?;
    let open = open(&flow);
    let Some(first) = open.first().copied() else {
        return Err(ended(&flow));
    };
    let together = OwnerRequest::CancelTogether {
        tasks: open.clone(),
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    let decided = ask_to_change(&state, first, &together).await?;
    let has_changed = match decided {
        Decided::Done(seq) | Decided::AlreadyRequested(seq) => {
            state.acknowledge(&caller.context().position, &caller.team, seq);
            true
        }
        // They have ended meanwhile.
        Decided::NotOpen | Decided::Running => false,
    };
    let flow = find_now(&state, &caller.team, &id).await?;
    if !has_changed {
        let is_open = |task: &TaskId| open.contains(task);
        // What is not open for its owner, and has no end, has not been read there yet.
        return Err(match self::open(&flow).iter().any(is_open) {
            true => no_owner(),
            false => ended(&flow),
        });
    }
    Ok(axum::Json(WorkflowEnvelope {
        workflow: WorkflowObject::of(&id, &caller.team, flow),
        warnings: Vec::new(),
    }))
}

/// The tasks that have not ended.
fn open(flow: &Flow) -> Vec<TaskId> {
    let open = flow.members.iter();
    let open = open.filter(|member| !member.status.is_terminal());
    open.map(|member| member.task).collect()
}

fn ended(flow: &Flow) -> ApiError {
    let status = tally(flow).status().as_str();
    ApiError::conflict(
        ErrorCode::NotCancellable,
        format!("The workflow has ended (current: {status})"),
    )
}
