//! `POST /v1/operations/{id}/undo`: what an operation has cancelled is done after all.

use axum::extract::State;
use axum::response::Response;
use waybill_commands::entropy;
use waybill_domain::event::{BulkAction, OperationCreated};
use waybill_domain::id::OperationId;
use waybill_domain::operation::{UNDO_MS, can_be_undone};

use super::create::begin;
use super::purge::LETTERS;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::operation::{OperationEnvelope, find};
use waybill_edge::path::Id;

/// Undo an operation that has cancelled tasks or changed priorities, up to ten minutes after it was over.
///
/// This begins another operation, `undo`, which makes a new task of each task that was cancelled while no attempt of it was under way, with
/// what was left of its delay and its deadline. That goes for a `purge` as well; dead letters stay purged. A task whose attempt was cut off is left alone, since its target may have seen the call.
/// Of an operation that changed priorities, each task that still waits has its former one back, unless somebody has changed it since.
/// Repeated, the request answers with the same operation.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/undo",
    operation_id = "tasks.operation.undo",
    tag = "operations",
    security(("api_key" = ["tasks:write"])),
    params(("id" = String, Path, description = "Id of the operation to undo")),
    responses(
        (status = 201, description = "The operation that undoes it is on disk", body = OperationEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request had this answer"))),
        (status = 404, description = "The team has no such operation", body = ErrorBody),
        (status = 409, description = "It is not over, has been over for more than ten minutes, or has made tasks, which cannot be unmade, or purged dead letters, which cannot be put back", body = ErrorBody),
    )
)]
pub(crate) async fn undo_operation(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Id(id): Id<OperationId>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let operation = find(&state, &caller.team, &id)?;
    let conflict = |message: &'static str| Err(ApiError::conflict(ErrorCode::Conflict, message));
    let Some(undone) = operation.created.as_deref() else {
        return Err(ApiError::not_found("Operation not found"));
    };
    if !can_be_undone(undone.action) {
        return conflict(
            "Only an operation that cancels, purges or changes priorities can be undone: the tasks that others have made may have been delivered; cancel those that are still open",
        );
    }
    if is_of_letters(undone) {
        return conflict(
            "Dead letters that were purged cannot be put back; each can be replayed by its id",
        );
    }
    let Some(over) = operation.over_at() else {
        return conflict("The operation is not over; cancel it first");
    };
    let undo = OperationId::of_text(&format!("undo {id}"));
    let now = entropy::now();
    let is_begun = state.auth.directory().operation(&undo).is_some();
    if !is_begun && now.0 - over.0 > UNDO_MS {
        return conflict("The operation has been over for more than ten minutes");
    }
    let draft = OperationCreated {
        operation: undo,
        action: BulkAction::Undo,
        undoes: Some(id),
        reason: None,
        matched: operation.progress.done,
        created_by: caller.actor().to_string(),
        at: now,
        ..undone.clone()
    };
    begin(&state, &caller, draft).await
}

/// Whether an operation purges nothing but dead letters.
fn is_of_letters(operation: &OperationCreated) -> bool {
    let statuses = operation.filter.get("status");
    let ended = |status: &String| LETTERS.contains(&status.as_str());
    operation.action == BulkAction::Purge
        && statuses.is_some_and(|statuses| statuses.iter().all(ended))
}
