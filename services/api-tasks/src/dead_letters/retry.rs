//! `POST /v1/dead-letters/{id}/retry`: a dead letter is tried again, once.
//!
//! It is a replay under an idempotency key of its own, which no client can send: repeated, it answers with the same new task.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use waybill_domain::id::TaskId;
use waybill_domain::operation::retry_key;

use crate::accept::{Accepting, count_accepted, limits};
use crate::create::answer;
use crate::idempotency::{self, Outcome};
use crate::lookup;
use crate::object::{Attempts, Task, TaskEnvelope};
use crate::replay::{again, go_on};
use crate::request::CreateTask;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Try a dead letter again.
///
/// Makes a new task with the same request, as `POST /v1/tasks/{id}/replay` without a body does, but only once: repeated, it answers with
/// the same new task and `Idempotency-Replayed: true`. The dead letter then has `retriedAs` and is left out of the list.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/retry",
    operation_id = "tasks.dead_letter.retry",
    tag = "dead letters",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the dead task")),
    responses(
        (status = 201, description = "Accepted: the new task is on disk", body = TaskEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when the dead letter had been retried before"))),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No dead letter of the team has this id", body = ErrorBody),
        (status = 409, description = "The credentials of the task are gone (`credentials_gone`): replay it with `headers`; or it takes over results of its workflow (`conflict`)", body = ErrorBody),
        (status = 410, description = "The request of the task is no longer in the log (`request_gone`)", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`); see `code` and `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn retry_dead_letter(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let warnings = warnings.judge(handling)?;
    let start = Instant::now();
    let min_seq = state.acknowledged.to(&caller.team);
    let row = match lookup::find_row(&state, &caller.team, id, min_seq).await {
        Ok(row) if row.is_dead_letter() => row,
        Ok(_) => return Err(no_such_letter()),
        Err(error) => return Err(error),
    };
    let key = retry_key(id);
    // Asked first, so that a second request needs nothing that may be gone or changed by now.
    if let Some(earlier) = state.queries.by_idempotency_key(&caller.team, &key).await? {
        let (id, seq) = (earlier.id, earlier.created_seq);
        let found = lookup::find_as_of(&state, &caller.team, id, seq).await?;
        let task = Task::read(found, Attempts::Hidden);
        return Ok(answer(TaskEnvelope::new(task, warnings), true));
    }
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let mut checked = again(&accepting, &row, CreateTask::default(), &limits).await?;
    go_on(&mut checked, &row);
    let outcome = idempotency::create(&accepting, checked, key).await?;
    if let Outcome::First(_) = outcome {
        count_accepted(1, start);
    }
    let (task, replayed) = outcome.into_parts();
    Ok(answer(TaskEnvelope::new(task, warnings), replayed))
}

pub(crate) fn no_such_letter() -> ApiError {
    ApiError::not_found("Dead letter not found")
}
