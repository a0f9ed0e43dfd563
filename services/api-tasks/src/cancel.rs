//! `POST /v1/tasks/{id}/cancel` and `DELETE /v1/tasks/{id}`: a task that has not ended ends as cancelled. An attempt
//! that is being made is cut off: the request to cancel is in the log at once, and the end follows when the call is gone.
//!
//! Only the owner of the task's partition knows whether an attempt is running, and only the owner may append; so it is asked.

use axum::Extension;
use axum::extract::State;
use waybill_domain::command::OwnerRequest;
use waybill_domain::id::TaskId;
use waybill_domain::task::Status;

use super::decided::{Decided, ask_to_change, changed};
use super::lookup;
use super::object::{Task, TaskEnvelope};
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::owners::no_owner;
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
    let seq = match ask_to_cancel(state, caller, context, id).await? {
        Decided::Done(seq) | Decided::AlreadyRequested(seq) => seq,
        Decided::Running => return Err(not_open(Status::Processing)),
        Decided::NotOpen => return Err(ended(state, caller, id).await?),
    };
    changed(state, caller, id, seq).await
}

/// Asks the owner of a task to cancel it.
pub async fn ask_to_cancel(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    context: &RequestContext,
    id: TaskId,
) -> Result<Decided, ApiError> {
    let request = OwnerRequest::Cancel {
        task: id,
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    ask_to_change(state, id, &request).await
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
