//! Events of tasks.

mod answer;
mod attempt;
mod created;
mod end;
mod failure;
mod limit_paused;
mod ownership;
mod priority;
mod purged;
mod restated;
mod target_disabled;
mod unblocked;
mod webhook;

use crate::event::events;
use crate::id::TaskId;
use crate::time::Timestamp;

pub use answer::{
    Answer, BodyEncoding, HeaderValues, MAX_ANSWER_BYTES, USUAL_ANSWER_BYTES, group_repeated,
};
pub use attempt::{AttemptFailed, RunRequested, TaskProgressed, TaskReleased, TaskStarted};
pub use created::{SealedHeaders, TaskCreated};
pub use end::{CancelRequested, TaskCancelled, TaskDead, TaskEnd, TaskExpired, TaskSucceeded};
pub use failure::{Failure, FailureKind};
pub use limit_paused::TaskLimitPaused;
pub use ownership::PartitionOwned;
pub use priority::PriorityChanged;
pub use purged::TaskPurged;
pub use restated::{Blocks, Standing, TaskRestated, Waits};
pub use target_disabled::TargetDisabled;
pub use unblocked::TaskUnblocked;
pub use webhook::{CallbackFailed, CallbackSent};

events! {
    /// A step in the life of a task. Gateways append the creation, and only the owner of the
    /// partition appends everything later.
    TaskEvent {
        Created(Box<TaskCreated>) = "task.created.v1",
        Started(TaskStarted) = "task.started.v1",
        AttemptFailed(AttemptFailed) = "task.attempt_failed.v1",
        Released(TaskReleased) = "task.released.v1",
        Succeeded(TaskSucceeded) = "task.succeeded.v1",
        Dead(TaskDead) = "task.dead.v1",
        RunRequested(RunRequested) = "task.run_requested.v1",
        CancelRequested(CancelRequested) = "task.cancel_requested.v1",
        Cancelled(TaskCancelled) = "task.cancelled.v1",
        Expired(TaskExpired) = "task.expired.v1",
        CallbackSent(CallbackSent) = "task.callback_sent.v1",
        CallbackFailed(CallbackFailed) = "task.callback_failed.v1",
        CallbackRequested(Box<TaskRestated>) = "task.callback_requested.v1",
        Restated(Box<TaskRestated>) = "task.restated.v1",
        Purged(TaskPurged) = "task.purged.v1",
        PriorityChanged(PriorityChanged) = "task.priority_changed.v1",
        Progressed(TaskProgressed) = "task.progressed.v1",
        Unblocked(TaskUnblocked) = "task.unblocked.v1",
        LimitPaused(TaskLimitPaused) = "task.limit_paused.v1",
        TargetDisabled(TargetDisabled) = "task.target_disabled.v1",
    }
}

impl TaskEvent {
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self {
            Self::Created(e) => e.id,
            Self::Started(e) => e.id,
            Self::AttemptFailed(e) => e.id,
            Self::Released(e) => e.id,
            Self::Succeeded(e) => e.id,
            Self::Dead(e) => e.id,
            Self::RunRequested(e) => e.id,
            Self::CancelRequested(e) => e.id,
            Self::Cancelled(e) => e.id,
            Self::Expired(e) => e.id,
            Self::CallbackSent(e) => e.id,
            Self::CallbackFailed(e) => e.id,
            Self::Purged(e) => e.id,
            Self::CallbackRequested(e) | Self::Restated(e) => e.created.id,
            Self::PriorityChanged(e) => e.id,
            Self::Progressed(e) => e.id,
            Self::Unblocked(e) => e.id,
            Self::LimitPaused(e) => e.id,
            Self::TargetDisabled(e) => e.id,
        }
    }

    /// The short name: a token of the subject and, after `task.`, the name that subscribers see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Created(_) => "created",
            Self::Started(_) => "started",
            Self::AttemptFailed(_) => "attempt_failed",
            Self::Released(_) => "released",
            Self::Succeeded(_) => "succeeded",
            Self::Dead(_) => "dead",
            Self::RunRequested(_) => "run_requested",
            Self::CancelRequested(_) => "cancel_requested",
            Self::Cancelled(_) => "cancelled",
            Self::Expired(_) => "expired",
            Self::CallbackSent(_) => "callback_sent",
            Self::CallbackFailed(_) => "callback_failed",
            Self::CallbackRequested(_) => "callback_requested",
            Self::Restated(_) => "restated",
            Self::Purged(_) => "purged",
            Self::PriorityChanged(_) => "priority_changed",
            Self::Progressed(_) => "progressed",
            Self::Unblocked(_) => "unblocked",
            Self::LimitPaused(_) => "limit_paused",
            Self::TargetDisabled(_) => "target_disabled",
        }
    }

    /// Whether that is the stored name of a creation.
    #[must_use]
    pub fn is_creation(name: &str) -> bool {
        name == "task.created.v1"
    }

    /// The short names of task events, as subscribers see them. A restatement is not among them,
    /// since nothing happened to the task.
    pub const KINDS: &'static [&'static str] = &[
        "created",
        "started",
        "attempt_failed",
        "released",
        "succeeded",
        "dead",
        "run_requested",
        "cancel_requested",
        "cancelled",
        "expired",
        "callback_sent",
        "callback_failed",
        "callback_requested",
        "purged",
        "priority_changed",
        "progressed",
        "unblocked",
        "limit_paused",
        "target_disabled",
    ];

    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Created(e) => e.at,
            Self::Started(e) => e.at,
            Self::AttemptFailed(e) => e.at,
            Self::Released(e) => e.at,
            Self::Succeeded(e) => e.at,
            Self::Dead(e) => e.at,
            Self::RunRequested(e) => e.at,
            Self::CancelRequested(e) => e.at,
            Self::Cancelled(e) => e.at,
            Self::Expired(e) => e.at,
            Self::CallbackSent(e) => e.at,
            Self::CallbackFailed(e) => e.at,
            Self::Purged(e) => e.at,
            Self::CallbackRequested(e) | Self::Restated(e) => e.at,
            Self::PriorityChanged(e) => e.at,
            Self::Progressed(e) => e.at,
            Self::Unblocked(e) => e.at,
            Self::LimitPaused(e) => e.at,
            Self::TargetDisabled(e) => e.at,
        }
    }

    /// The request of the task, if this event contains it, as a creation and a restatement do.
    #[must_use]
    pub fn into_request(self) -> Option<TaskCreated> {
        match self {
            Self::Created(created) => Some(*created),
            Self::CallbackRequested(restated) | Self::Restated(restated) => Some(restated.created),
            _ => None,
        }
    }

    /// How the task ended, if this event says so, as an end does, and the restatement of an ended
    /// task.
    #[must_use]
    pub fn into_end(self) -> Option<TaskEnd> {
        match self {
            Self::Succeeded(end) => Some(TaskEnd::Succeeded(end)),
            Self::Dead(end) => Some(TaskEnd::Dead(end)),
            Self::Expired(end) => Some(TaskEnd::Expired(end)),
            Self::Cancelled(end) => Some(TaskEnd::Cancelled(end)),
            Self::CallbackRequested(restated) | Self::Restated(restated) => match restated.standing
            {
                Standing::Ended { end, .. } => Some(*end),
                _ => None,
            },
            _ => None,
        }
    }
}
