//! `GET /v1/tasks/{id}`, and waiting for it to change.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::task::Status;
use waybill_projector::query::TaskView;

use super::blocked::Blocked;
use super::lookup;
use super::object::{Attempts, Task, TaskEnvelope};
use crate::state::TasksApi;
use crate::withheld::Sees;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::LenientQuery;
use waybill_edge::path::Id;
use waybill_edge::query::HasLists;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Longest wait, in seconds: below the patience of common proxies.
const MAX_WAIT_SECONDS: u32 = 25;

/// Options of the read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GetParams {
    /// Wait up to so many seconds (25 at most) for the status to change. A task that has ended is answered at once.
    wait: Option<u32>,
    /// What to wait for: `change` of the status, or `end` of the task. Default `change`.
    #[param(value_type = Option<String>, example = "end")]
    #[serde(default)]
    r#for: Awaited,
}

impl HasLists for GetParams {}

/// What a read waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Awaited {
    #[default]
    Change,
    /// A status that is an end.
    End,
}

impl<'de> Deserialize<'de> for Awaited {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*String::deserialize(deserializer)? {
            "change" | "" => Ok(Self::Change),
            "end" => Ok(Self::End),
            _ => Err(serde::de::Error::custom("must be change or end")),
        }
    }
}

impl Awaited {
    fn has_come(self, before: Status, now: Status) -> bool {
        match self {
            Self::Change => now != before,
            Self::End => now.is_terminal(),
        }
    }
}

/// Read a task.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    operation_id = "tasks.task.get",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(("id" = String, Path, description = "Id of the task"), GetParams),
    responses(
        (status = 200, description = "The task with its attempts", body = TaskEnvelope),
        (status = 404, description = "No such task", body = ErrorBody),
    )
)]
pub(crate) async fn get_task(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<TasksRead>>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<GetParams>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let mut warnings = warnings.judge(handling)?;
    let wait = match params.wait {
        Some(seconds) if seconds > MAX_WAIT_SECONDS => {
            let message =
                format!("wait must be between 0 and {MAX_WAIT_SECONDS} seconds, not {seconds}");
            return Err(ApiError::bad_field("wait", message));
        }
        seconds => Duration::from_secs(seconds.unwrap_or(0).into()),
    };
    let mut view = lookup::find(&state, &caller.team, id).await?;
    caller.may_use(&view.row.queue)?;
    if !wait.is_zero() && !view.status.is_terminal() {
        let deadline = Instant::now() + wait;
        context.under_way.give_back();
        view = awaited(&state, &caller.team, id, view, params.r#for, deadline).await?;
    }
    let blocked = Blocked::find(&state, &caller.team, [&view], entropy::now()).await;
    warnings.extend(blocked.warning());
    let task = Task::read(view, Attempts::Shown).blocked_by(blocked.of(id));
    let task = Sees(caller.sees_payloads(&state)).task(task);
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

/// The task after the awaited change, or as it stands at the deadline or when the gateway stops.
async fn awaited(
    state: &TasksApi,
    team: &TeamId,
    id: TaskId,
    mut view: TaskView,
    awaited: Awaited,
    deadline: Instant,
) -> Result<TaskView, ApiError> {
    let before = view.status;
    // Waiting is a courtesy: when no listener has room, the answer is what is known now.
    let Ok(mut watch) = state.hub.watch(team, id).await else {
        return Ok(view);
    };
    let mut min_seq = watch.since();
    loop {
        view = lookup::find_as_of(state, team, id, min_seq).await?;
        if awaited.has_come(before, view.status) {
            return Ok(view);
        }
        // Dropping the watch loses nothing: the view is read again after each change and at the deadline.
        tokio::select! {
            seq = watch.changed() => match seq {
                Some(seq) => min_seq = seq,
                None => return Ok(view),
            },
            () = tokio::time::sleep_until(deadline) => return Ok(view),
        }
    }
}
