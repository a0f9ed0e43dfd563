//! `onDuplicate: "reject"`: whoever creates a duplicate is refused, by the word of the owner who finds it.

use http::StatusCode;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_domain::task::{OnDuplicate, TaskSpec};

use crate::accept::Accepting;
use crate::lookup;
use crate::object::{Attempts, Task};
use crate::owner::{ask_owner, no_owner};
use waybill_edge::error::{ApiError, ErrorCode};

/// Whether a request wants to be refused if its task is a duplicate.
pub(crate) fn wants_rejection(spec: &TaskSpec) -> bool {
    let dedup = spec.once.as_ref().and_then(|once| once.dedup());
    dedup.is_some_and(|dedup| dedup.on_duplicate == OnDuplicate::Reject)
}

/// Refuses a task that is in the log and ends as a duplicate.
///
/// # Errors
/// 409 that names the other task; 503 with the id of this one if its owner does not answer: repeated with the same idempotency key, the
/// request gets the answer.
pub(crate) async fn refuse_duplicate(accepting: &Accepting<'_>, id: &str) -> Result<(), ApiError> {
    let id = TaskId::parse(id).map_err(|error| ApiError::internal(&error))?;
    let (state, team) = (accepting.state, accepting.team);
    let request = OwnerRequest::AskKept {
        task: id,
        team: team.clone(),
    };
    let unknown = |error: ApiError| error.for_task(id.to_string());
    match ask_owner(state, id, &request).await.map_err(unknown)? {
        OwnerReply::Noted => Ok(()),
        OwnerReply::NotOpen => {
            let found = lookup::find_as_of_now(state, team, id).await;
            let task = Task::read(found.map_err(unknown)?, Attempts::Hidden);
            match task.duplicate_of {
                None => Ok(()),
                Some(other) => Err(ApiError::new(
                    StatusCode::CONFLICT,
                    ErrorCode::DuplicateTask,
                    "Another task of the queue was accepted with the same dedup.key, within its window",
                )
                .about("dedup.key")
                .for_task(other)),
            }
        }
        // Replies to other requests.
        _ => Err(unknown(no_owner())),
    }
}
