//! `GET /v1/tasks/{id}`, and waiting for it to change.

use std::time::Duration;

use axum::extract::{Path, State};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use waybill_domain::id::{TaskId, TeamId};
use waybill_projector::query::TaskView;

use super::lookup;
use super::object::{Attempts, Task, TaskEnvelope};
use crate::auth::Caller;
use crate::auth::needs::TasksRead;
use crate::error::{ApiError, ErrorBody};
use crate::query::Query;
use crate::state::AppState;

/// Longest wait, in seconds: below the patience of common proxies.
const MAX_WAIT_SECONDS: u32 = 25;

/// How to read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GetParams {
    /// Wait up to so many seconds (25 at most) for the status to change. A task that has ended is answered at once.
    wait: Option<u32>,
}

/// Read a task.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task"), GetParams),
    responses(
        (status = 200, description = "The task with its attempts", body = TaskEnvelope),
        (status = 400, description = "A parameter is wrong", body = ErrorBody),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "Another team's task, or the key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 503, description = "Cannot be read now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn get_task(
    State(state): State<AppState>,
    caller: Caller<TasksRead>,
    Path(id): Path<String>,
    Query(params): Query<GetParams>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let id = lookup::parse_id(&id)?;
    let wait = match params.wait {
        Some(seconds) if seconds > MAX_WAIT_SECONDS => {
            let message =
                format!("wait must be between 0 and {MAX_WAIT_SECONDS} seconds, not {seconds}");
            return Err(ApiError::bad_field("wait", message));
        }
        seconds => Duration::from_secs(seconds.unwrap_or(0).into()),
    };
    let min_seq = state.acknowledged.to(&caller.team);
    let mut view = lookup::find(&state, &caller.team, id, min_seq).await?.value;
    if !wait.is_zero() && !view.status.is_terminal() {
        view = changed(&state, &caller.team, id, view, Instant::now() + wait).await?;
    }
    let task = Task::read(view, Attempts::Shown);
    Ok(axum::Json(TaskEnvelope { task }))
}

/// The task once its status is another one than in `view`, or as it is at the deadline or when we stop.
async fn changed(
    state: &AppState,
    team: &TeamId,
    id: TaskId,
    mut view: TaskView,
    deadline: Instant,
) -> Result<TaskView, ApiError> {
    let before = view.status;
    // Waiting is a courtesy: when no listener has room, the answer is what is known now.
    let Ok(mut watch) = state.hub.watch(team, id).await else {
        return Ok(view);
    };
    let mut min_seq = watch.since();
    loop {
        view = lookup::find(state, team, id, min_seq).await?.value;
        if view.status != before {
            return Ok(view);
        }
        tokio::select! {
            seq = watch.changed() => match seq {
                Some(seq) => min_seq = seq,
                None => return Ok(view),
            },
            () = tokio::time::sleep_until(deadline) => return Ok(view),
        }
    }
}
