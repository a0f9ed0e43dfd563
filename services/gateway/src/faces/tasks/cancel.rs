//! `POST /v1/tasks/{id}/cancel` and `DELETE /v1/tasks/{id}`: a task that no attempt of is running ends as cancelled.
//!
//! Only the owner of the task's partition knows whether an attempt is running, and only the owner may append; so it is asked.

use std::time::Duration;

use async_nats::Request;
use axum::Extension;
use axum::extract::{Path, State};
use bytes::Bytes;
use tokio::time::Instant;
use waybill_domain::command::{self, OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::task::Status;
use waybill_log::{Stream, StreamSeq};
use waybill_projector::query::TaskView;

use super::lookup;
use super::object::{Attempts, Task, TaskEnvelope};
use crate::auth::Caller;
use crate::auth::needs::TasksWrite;
use crate::edge::RequestContext;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// How long an owner is looked for. A partition that changes hands has one again within seconds; a client should not wait for all of them.
const OWNER_DEADLINE: Duration = Duration::from_secs(3);
/// What one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before the owner is asked again.
const PAUSE: Duration = Duration::from_millis(150);

/// Cancel a task.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "It is cancelled", body = TaskEnvelope),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team's task, or the key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "An attempt is running, or it has ended", body = ErrorBody),
        (status = 503, description = "Nobody can say now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn cancel_task(
    state: State<AppState>,
    caller: Caller<TasksWrite>,
    context: Extension<RequestContext>,
    id: Path<String>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    cancel(&state, &caller, &context, &id).await
}

/// Cancel a task: the same as `POST /v1/tasks/{id}/cancel`.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{id}",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "It is cancelled", body = TaskEnvelope),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team's task, or the key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "An attempt is running, or it has ended", body = ErrorBody),
        (status = 503, description = "Nobody can say now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn delete_task(
    state: State<AppState>,
    caller: Caller<TasksWrite>,
    context: Extension<RequestContext>,
    id: Path<String>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    cancel(&state, &caller, &context, &id).await
}

async fn cancel(
    state: &AppState,
    caller: &Caller<TasksWrite>,
    context: &RequestContext,
    id: &str,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let id = lookup::parse_id(id)?;
    let view = lookup::find(state, &caller.team, id, StreamSeq(0))
        .await?
        .value;
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
        OwnerReply::Done { seq } => {
            state.acknowledged.told(&caller.team, seq);
            seq
        }
        OwnerReply::Running => return Err(not_open(Status::Processing)),
        OwnerReply::NotOpen => return Err(ended(state, caller, id).await?),
        OwnerReply::TryAgain => return Err(no_owner()),
    };
    let view: TaskView = lookup::find(state, &caller.team, id, seq).await?.value;
    let task = Task::read(view, Attempts::Shown);
    Ok(axum::Json(TaskEnvelope { task }))
}

/// The owner knows no such open task: how it has ended is in the log by now.
async fn ended(
    state: &AppState,
    caller: &Caller<TasksWrite>,
    id: TaskId,
) -> Result<ApiError, ApiError> {
    let last = state.log.bounds(Stream::Tasks).await?.last;
    let view = lookup::find(state, &caller.team, id, last).await?.value;
    if view.status.is_terminal() {
        Ok(not_open(view.status))
    } else {
        // Created, and not yet read by the owner.
        Ok(no_owner())
    }
}

/// Asks until somebody answers definitely or the deadline passes. Asking twice is harmless: a task is cancelled once.
async fn ask_owner(
    state: &AppState,
    id: TaskId,
    request: &OwnerRequest,
) -> Result<OwnerReply, ApiError> {
    let payload =
        Bytes::from(rmp_serde::to_vec_named(request).map_err(|e| ApiError::internal(&e))?);
    let deadline = Instant::now() + OWNER_DEADLINE;
    loop {
        let request = Request::new()
            .payload(payload.clone())
            .timeout(Some(REQUEST_TIMEOUT));
        let subject = command::subject(id.partition());
        match state.nats.send_request(subject, request).await {
            Ok(message) => match rmp_serde::from_slice(&message.payload) {
                Ok(OwnerReply::TryAgain) => {}
                Ok(reply) => return Ok(reply),
                Err(error) => return Err(ApiError::internal(&error)),
            },
            // No owner now, or one that does not answer in time.
            Err(error) => tracing::debug!(%error, "the owner of the partition does not answer"),
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(no_owner());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn not_open(status: Status) -> ApiError {
    ApiError::conflict(
        "not_cancellable",
        format!("Task cannot be cancelled (current: {status})"),
    )
}

fn no_owner() -> ApiError {
    ApiError::unavailable(
        "owner_unavailable",
        "The task's worker is changing; try again later",
    )
}
