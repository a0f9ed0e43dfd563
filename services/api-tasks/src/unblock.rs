//! `POST /v1/tasks/{id}/unblock`: the tasks that wait behind a failed one with their ordering key go on.
//!
//! Only the owner of the task's partition knows who waits, and only the owner may append; so it is asked.

use axum::Extension;
use axum::extract::State;
use waybill_domain::command::OwnerRequest;
use waybill_domain::id::TaskId;
use waybill_domain::task::OnFailure;

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

/// Let the tasks go that wait behind a failed one.
///
/// For a task with `orderingKey` and `onFailure: "block"` that has failed or expired: those behind it start without it. The task itself stays as
/// it ended. To have it done before them instead, retry or replay it: the new task takes its place.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/unblock",
    operation_id = "tasks.task.unblock",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the failed task")),
    responses(
        (status = 200, description = "Those behind it go on", body = TaskEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "The task has not ended (`not_ended`), or no task waits because of it (`conflict`)", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn unblock_task(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let view = lookup::find(&state, &caller.team, id).await?;
    let ordering = view.row.ordering.as_ref();
    if ordering.is_none_or(|ordering| ordering.on_failure != OnFailure::Block) {
        return Err(blocks_nothing());
    }
    let request = OwnerRequest::Unblock {
        task: id,
        team: caller.team.clone(),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    let seq = match ask_to_change(&state, id, &request).await? {
        Decided::Done(seq) => seq,
        Decided::Running | Decided::AlreadyRequested(_) => return Err(no_owner()),
        Decided::NotOpen => {
            let view = lookup::find_as_of_now(&state, &caller.team, id).await?;
            return Err(if view.status.is_terminal() {
                blocks_nothing()
            } else {
                let message = format!("The task has not ended (current: {})", view.status);
                ApiError::conflict(ErrorCode::NotEnded, message)
            });
        }
    };
    let task = changed(&state, &caller, id, seq).await?;
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

fn blocks_nothing() -> ApiError {
    ApiError::conflict(
        ErrorCode::Conflict,
        "No task waits because of this one: it has no onFailure \"block\", has not failed, or was retried or let go already",
    )
}
