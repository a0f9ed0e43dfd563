//! `POST /v1/tasks/{id}/run-now`: a task that waits for its time or for its retry becomes ready at once.
//!
//! As with a cancellation, only the owner of the task's partition knows whether the task still waits, so it is asked.

use axum::Extension;
use axum::extract::State;
use waybill_domain::command::OwnerRequest;
use waybill_domain::id::TaskId;
use waybill_domain::task::Status;

use super::decided::{Decided, ask_to_change, changed};
use super::lookup;
use super::object::TaskEnvelope;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::owners::no_owner;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Run a task now.
///
/// A task that is delayed, or that pauses between two attempts, may start as soon as a slot is free. It uses up no retry, and `deadline`,
/// `expiresIn` and `maxAge` go on as before. A task that waits for nothing but a slot is answered as it is.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/run-now",
    operation_id = "tasks.task.run_now",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The task may start as soon as a slot is free", body = TaskEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "An attempt is running (`already_running`), or the task has ended (`already_ended`)", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn run_task_now(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let view = lookup::find(&state, &caller.team, id).await?;
    if view.status.is_terminal() {
        return Err(ended(view.status));
    }
    let request = OwnerRequest::RunNow {
        task: id,
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    let seq = match ask_to_change(&state, id, &request).await? {
        Decided::Done(seq) | Decided::AlreadyRequested(seq) => seq,
        Decided::Running => return Err(running()),
        Decided::NotOpen => {
            let view = lookup::find_as_of_now(&state, &caller.team, id).await?;
            // Otherwise the task was created, and its owner has not read that yet.
            return Err(if view.status.is_terminal() {
                ended(view.status)
            } else {
                no_owner()
            });
        }
    };
    let task = changed(&state, &caller, id, seq).await?;
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

fn running() -> ApiError {
    ApiError::conflict(
        ErrorCode::AlreadyRunning,
        "An attempt of the task is running already",
    )
}

fn ended(status: Status) -> ApiError {
    ApiError::conflict(
        ErrorCode::AlreadyEnded,
        format!("The task has ended and cannot be run (current: {status})"),
    )
}
