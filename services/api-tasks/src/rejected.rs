//! `onDuplicate: "reject"`: whoever creates a duplicate is refused, by the word of the owner who finds it.

use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;

use crate::accept::Accepting;
use crate::lookup;
use crate::object::{Attempts, Task};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::owners::no_owner;

const REJECTED: &str =
    "Another task of the queue was accepted with the same dedup.key, within its window";

/// Refuses a task that is in the log and ends as a duplicate, with 409 that names the other one. 503 with the id of this one if its owner
/// does not answer: repeated with the same idempotency key, the request gets the answer.
pub(crate) async fn refuse_duplicate(accepting: &Accepting<'_>, id: &str) -> Result<(), ApiError> {
    let id = TaskId::parse(id).map_err(|error| ApiError::internal(&error))?;
    let (state, team) = (accepting.state, accepting.team.clone());
    let unknown = |error: ApiError| error.for_task(id.to_string());
    let request = OwnerRequest::AskKept { task: id, team };
    match state
        .owners
        .ask_about(id, &request)
        .await
        .map_err(unknown)?
    {
        OwnerReply::Noted => return Ok(()),
        OwnerReply::NotOpen => {}
        _ => return Err(unknown(no_owner())),
    }
    let found = lookup::find_as_of_now(state, accepting.team, id).await;
    match Task::read(found.map_err(unknown)?, Attempts::Hidden).duplicate_of {
        None => Ok(()),
        Some(other) => Err(ApiError::conflict(ErrorCode::DuplicateTask, REJECTED)
            .about("dedup.key")
            .for_task(other)),
    }
}
