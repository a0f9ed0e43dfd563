//! `PATCH /v1/tasks/{id}`: another priority for a task that waits.
//!
//! Only the owner of the task's partition knows whether an attempt is running, and only the owner may append; so it is asked.

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::command::OwnerRequest;
use waybill_domain::id::TaskId;
use waybill_domain::task::{Priority, Status};

use super::decided::{Decided, ask_to_change, changed};
use super::lookup;
use super::object::TaskEnvelope;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::{LenientJson, LenientQuery, NoParameters};
use waybill_edge::owners::no_owner;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// What is changed about a task.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct ChangeTask {
    /// Its priority from now on, from 1 to 10: higher first among tasks of the same `queue` and `fairnessKey`.
    #[schema(required = true, value_type = i64, minimum = 1, maximum = 10, example = 9)]
    priority: Option<i64>,
}

/// Reads a priority that a client must give.
pub(crate) fn wanted_priority(given: Option<i64>) -> Result<Priority, ApiError> {
    let wrong = |message: String| ApiError::bad_field("priority", message);
    let given = given.ok_or_else(|| wrong("priority is required: 1 to 10".to_owned()))?;
    let known = u8::try_from(given).ok().and_then(Priority::new);
    known.ok_or_else(|| wrong(format!("priority must be between 1 and 10, not {given}")))
}

/// Change the priority of a task that waits.
///
/// It counts at once, for a task that is delayed, waits for its turn, or pauses between two attempts; among tasks of the new priority it has
/// the place of its creation. With the priority that it has already, nothing happens.
#[utoipa::path(
    patch,
    path = "/v1/tasks/{id}",
    operation_id = "tasks.task.change",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(
        ("id" = String, Path, description = "Id of the task"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
    ),
    request_body = ChangeTask,
    responses(
        (status = 200, description = "The task has that priority", body = TaskEnvelope),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "An attempt is running (`already_running`), or the task has ended (`already_ended`)", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn change_task(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, in_query): LenientQuery<NoParameters>,
    LenientJson(change, in_body): LenientJson<ChangeTask>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = in_query.and(in_body).judge(handling)?;
    let priority = wanted_priority(change.priority)?;
    let view = lookup::find(&state, &caller.team, id).await?;
    if view.status.is_terminal() {
        return Err(ended(view.status));
    }
    let request = OwnerRequest::ChangePriority {
        task: id,
        team: caller.team.clone(),
        priority,
        operation: None,
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

/// The refusal of a task that has started and keeps its priority until the attempt has ended.
pub(crate) fn running() -> ApiError {
    ApiError::conflict(
        ErrorCode::AlreadyRunning,
        "An attempt of the task is running; its priority can be changed while it waits",
    )
}

/// The refusal of a task that has ended.
pub(crate) fn ended(status: Status) -> ApiError {
    ApiError::conflict(
        ErrorCode::AlreadyEnded,
        format!("The task has ended and keeps its priority (current: {status})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_from_1_to_10() {
        for (given, expected) in [
            (Some(1), Ok(1)),
            (Some(10), Ok(10)),
            (Some(0), Err("priority must be between 1 and 10, not 0")),
            (Some(11), Err("priority must be between 1 and 10, not 11")),
            (Some(-3), Err("priority must be between 1 and 10, not -3")),
            (Some(257), Err("priority must be between 1 and 10, not 257")),
            (None, Err("priority is required: 1 to 10")),
        ] {
            let read = wanted_priority(given).map(Priority::get);
            let read = read.map_err(|error| {
                assert_eq!(error.body.field.as_deref(), Some("priority"));
                error.body.error.into_owned()
            });
            assert_eq!(read, expected.map_err(str::to_owned));
        }
    }
}
