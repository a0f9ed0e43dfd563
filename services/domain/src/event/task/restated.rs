//! Restatements: a task written again, so that its older records can be purged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::created::TaskCreated;
use super::end::TaskEnd;
use super::failure::Failure;
use crate::flow::Given;
use crate::seq::StreamSeq;
use crate::task::ChangedPriority;
use crate::task::history::History;
use crate::task::once::Span;
use crate::task::pull::LeaseStanding;
use crate::time::Timestamp;

/// An open task, written again by its partition's owner so that the log can drop its older records.
///
/// As `task.restated`, it means that nothing happened to the task. A reader that knows the task
/// only learns where its request is stored now, and a reader that begins after the task's creation
/// reconstructs what the others know. The task keeps its place in lists and in the order of
/// service, and the event appears in no stream.
///
/// As `task.callback_requested`, it has the same contents for an ended task whose completion
/// webhook a client asked for again: the partition's owner had forgotten the task, and restores it
/// from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRestated {
    /// The request as accepted. For an ended task, headers and body are left out, since only its
    /// webhook remains to be sent.
    pub created: TaskCreated,
    /// Sequence of its creation in TASKS, which determines its place in lists and among tasks of
    /// the same priority.
    pub position: StreamSeq,
    /// When it was restated.
    pub at: Timestamp,
    /// State of the task.
    pub standing: Standing,
    pub attempts: u32,
    /// Failed attempts that used up a retry.
    pub failures: u16,
    /// Attempts lost with their worker.
    pub lost: u16,
    /// Failed attempts in a row that used up no retry.
    #[serde(default, skip_serializing_if = "no_attempts")]
    pub uncounted: u32,
    /// Begin of a time limit over all attempts, which no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_start: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When cancellation was requested during an attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<Timestamp>,
    /// The part of its past that clients are shown.
    pub history: History,
    /// Of a task in the window of a debounce: when the tasks came that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Its priority, if that is not the one of its request any more, or was changed and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_priority: Option<ChangedPriority>,
    /// Its place among those with its ordering key, in the order of creations, if it does a task
    /// again that blocked them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_place: Option<StreamSeq>,
    /// Of a failed task: that those behind it by its ordering key wait. Its request is whole, as far
    /// as there was room, so that it can be done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Blocks>,
    /// Of an open member of a workflow: what it waits for. Absent if it runs after none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Waits>,
}

/// What a member of a workflow waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waits {
    /// Those of its predecessors that have not ended, as places in the list of its creation.
    pub left: Vec<u16>,
    /// What is filled in of the results of those that have completed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Given>,
}

/// A failed task blocks those behind it by its ordering key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocks {
    /// Whether nothing is left to be done about its completion webhook.
    pub webhook_over: bool,
}

fn no_attempts(count: &u32) -> bool {
    *count == 0
}

impl TaskRestated {
    /// Value of the header `Wb-Event`.
    pub const NAME: &'static str = "task.restated.v1";
}

/// State of a restated task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Must not start yet: delayed, or pausing between two attempts.
    Waiting {
        /// When the task may start.
        until: Timestamp,
        /// When the pause between two attempts began. Absent if `until` is a date that a client
        /// chose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
    },
    /// It may start as soon as a slot is free and the limits allow it.
    Ready {
        /// When the task became ready.
        since: Timestamp,
    },
    Running {
        /// Number of the attempt, from 1.
        attempt: u32,
        /// The lease of the worker that has claimed the task. Absent if the attempt is a call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<LeaseStanding>,
    },
    /// Ended, but the completion webhook is not delivered yet.
    Ended {
        /// Deliveries that have failed.
        deliveries: u32,
        /// When the next delivery is due.
        due: Timestamp,
        /// When the pause before the delivery began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Timestamp>,
        /// How it ended, including its result.
        end: Box<TaskEnd>,
    },
}
