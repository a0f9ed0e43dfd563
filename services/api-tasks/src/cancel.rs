//! `POST /v1/tasks/{id}/cancel` and `DELETE /v1/tasks/{id}`: a task that has not ended ends as cancelled. An attempt
//! that is being made is cut off: the request to cancel is in the log at once, and the end follows when the call is gone.
//!
//! Only the owner of the task's partition knows whether an attempt is running, and only the owner may append; so it is asked.

use axum::Extension;
use axum::extract::State;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::task::Status;
use waybill_projector::query::TaskView;

use super::lookup;
use super::object::{Attempts, Task, TaskEnvelope};
use super::owner::{ask_owner, no_owner};
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Cancel a task.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    operation_id = "tasks.task.cancel",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The task is cancelled; or, with `cancelRequested`, its running attempt is being cut off", body = TaskEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "The task has ended already", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn cancel_task(
    state: State<TasksApi>,
    caller: Caller<TasksWrite>,
    context: Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let task = cancel(&state, &caller, &context, id).await?;
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

/// Cancel a task: the same as `POST /v1/tasks/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{id}",
    operation_id = "tasks.task.delete",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The task is cancelled; or, with `cancelRequested`, its running attempt is being cut off", body = TaskEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "The task has ended already", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn delete_task(
    state: State<TasksApi>,
    caller: Caller<TasksWrite>,
    context: Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let task = cancel(&state, &caller, &context, id).await?;
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

async fn cancel(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    context: &RequestContext,
    id: TaskId,
) -> Result<Task, ApiError> {
    let view = lookup::find(state, &caller.team, id).await?;
    if view.status.is_terminal() {
        return Err(not_open(view.status));
    }
    let request = OwnerRequest::Cancel {
        task: id,
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    let seq = match ask_owner(state, id, &request).await? {
        OwnerReply::Done { seq } | OwnerReply::AlreadyRequested { seq } => {
            state.acknowledge(&caller.context().position, &caller.team, seq);
            seq
        }
        OwnerReply::Running => return Err(not_open(Status::Processing)),
        OwnerReply::NotOpen => return Err(ended(state, caller, id).await?),
        OwnerReply::TryAgain
        | OwnerReply::Explained(_)
        | OwnerReply::ExplainedMany(_)
        | OwnerReply::Granted(_)
        | OwnerReply::Health(_)
        | OwnerReply::Limits(_)
        | OwnerReply::Noted => return Err(no_owner()),
    };
    let view: TaskView = lookup::find_as_of(state, &caller.team, id, seq).await?;
    Ok(Task::read(view, Attempts::Shown))
}

/// The owner has no such open task: how it ended is in the log by now.
async fn ended(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    id: TaskId,
) -> Result<ApiError, ApiError> {
    let view = lookup::find_as_of_now(state, &caller.team, id).await?;
    if view.status.is_terminal() {
        Ok(not_open(view.status))
    } else {
        // The task was created, and its owner has not read that yet.
        Ok(no_owner())
    }
}

pub(crate) fn not_open(status: Status) -> ApiError {
    ApiError::conflict(
        ErrorCode::NotCancellable,
        format!("Task cannot be cancelled (current: {status})"),
    )
}
