//! `POST /v1/tasks/{id}/webhook/redeliver`: the completion webhook of a task that has ended is sent once more.

use axum::Extension;
use axum::extract::State;
use waybill_domain::command::OwnerRequest;
use waybill_domain::task::{History, TaskRow};

use super::decided::{Decided, ask_to_change, changed};
use super::lookup;
use super::object::TaskEnvelope;
use crate::state::TasksApi;
use waybill_domain::id::TaskId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::lenient::{LenientQuery, NoParameters};
use waybill_edge::owners::no_owner;
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Send the completion webhook of an ended task again.
///
/// For a receiver that was down for longer than deliveries were repeated, or that lost what it was sent. The message is the same and has the
/// same `webhook-id`; deliveries that fail are tried again as the first ones were.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/webhook/redeliver",
    operation_id = "tasks.webhook.redeliver",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the task")),
    responses(
        (status = 200, description = "The delivery is under way; `webhook.status` shows how it ends", body = TaskEnvelope),
        (status = 400, description = "An unknown parameter, with `Prefer: handling=strict`", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "It has not ended (`not_ended`), has no `onCompleteUrl` (`no_webhook`), or is no longer in the log (`no_longer_kept`)", body = ErrorBody),
        (status = 503, description = "The partition has no owner right now; retry after `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn redeliver_webhook(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    Id(id): Id<TaskId>,
    handling: Handling,
    LenientQuery(NoParameters {}, warnings): LenientQuery<NoParameters>,
) -> Result<axum::Json<TaskEnvelope>, ApiError> {
    let warnings = warnings.judge(handling)?;
    let view = lookup::find(&state, &caller.team, id).await?;
    let row = view.row;
    let Some(ended) = row.ended_seq.filter(|_| view.status.is_terminal()) else {
        return Err(ApiError::conflict(
            ErrorCode::NotEnded,
            format!("The task has not ended (current: {})", view.status),
        ));
    };
    if row.on_complete_url.is_none() {
        return Err(ApiError::conflict(
            ErrorCode::NoWebhook,
            "The task has no onCompleteUrl",
        ));
    }
    let request = OwnerRequest::Redeliver {
        task: id,
        team: caller.team.clone(),
        position: row.created_seq,
        stored: row.stored_seq,
        ended,
        attempts: row.attempts.last().map_or(0, |attempt| attempt.number),
        failures: row.retry_count,
        cancel_requested: row.cancel_requested,
        changed_priority: row.changed_priority.clone(),
        history: Box::new(past(row)),
        actor: caller.actor(),
        traceparent: Some(context.traceparent.to_string()),
    };
    let seq = match ask_to_change(&state, id, &request).await? {
        Decided::Done(seq) => seq,
        Decided::Running | Decided::AlreadyRequested(_) => return Err(no_owner()),
        Decided::NotOpen => {
            return Err(ApiError::conflict(
                ErrorCode::NoLongerKept,
                "The task's request or its end is no longer in the log",
            ));
        }
    };
    let task = changed(&state, &caller, id, seq).await?;
    Ok(axum::Json(TaskEnvelope::new(task, warnings)))
}

/// The history of a task as clients see it, which the log has to hold again with the request.
fn past(row: TaskRow) -> History {
    History {
        started_at: row.started_at,
        updated_at: Some(row.updated_at),
        attempts: row.attempts,
        error: row.error,
        answer: row.answer,
        callback: None,
        purged_at: row.purged_at,
        progress: row.progress,
    }
}
