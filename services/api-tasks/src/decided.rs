//! What the owner of a partition decides about changes of a task.

use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::TaskId;
use waybill_log::StreamSeq;

use crate::lookup;
use crate::object::{Attempts, Task};
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::ApiError;
use waybill_edge::owners::no_owner;

/// What an owner has decided about a request to change a task. The positions in TASKS are those of the change or later ones.
pub enum Decided {
    Done(StreamSeq),
    /// Nothing was left to do.
    AlreadyRequested(StreamSeq),
    /// An attempt of the task is running.
    Running,
    /// The owner has no such open task: it has ended, or its owner has not read its creation.
    NotOpen,
}

/// Asks the owner of a task's partition for a change of it.
///
/// # Errors
/// 503 if the partition has no owner that answers in time.
pub async fn ask_to_change(
    state: &TasksApi,
    id: TaskId,
    request: &OwnerRequest,
) -> Result<Decided, ApiError> {
    match state.owners.ask_about(id, request).await? {
        OwnerReply::Done { seq } => Ok(Decided::Done(seq)),
        OwnerReply::AlreadyRequested { seq } => Ok(Decided::AlreadyRequested(seq)),
        OwnerReply::Running => Ok(Decided::Running),
        OwnerReply::NotOpen => Ok(Decided::NotOpen),
        // Replies to other requests.
        OwnerReply::TryAgain
        | OwnerReply::Explained(_)
        | OwnerReply::ExplainedMany(_)
        | OwnerReply::ExplainedWithKeys(_)
        | OwnerReply::Granted(_)
        | OwnerReply::Health(_)
        | OwnerReply::Limits(_)
        | OwnerReply::Claimed(_)
        | OwnerReply::Reported { .. }
        | OwnerReply::Extended { .. }
        | OwnerReply::LeaseLost
        | OwnerReply::Several(_)
        | OwnerReply::Workers(_)
        | OwnerReply::Noted => Err(no_owner()),
    }
}

/// The task as it is after a change that is in the log, which the caller may read from then on.
pub(crate) async fn changed(
    state: &TasksApi,
    caller: &Caller<TasksWrite>,
    id: TaskId,
    seq: StreamSeq,
) -> Result<Task, ApiError> {
    state.acknowledge(&caller.context().position, &caller.team, seq);
    let view = lookup::find_as_of(state, &caller.team, id, seq).await?;
    Ok(Task::read(view, Attempts::Shown))
}
