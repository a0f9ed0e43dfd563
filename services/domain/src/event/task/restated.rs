//! Restatements: a task written again, so that its older records can be purged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::created::TaskCreated;
use super::end::TaskEnd;
use super::failure::Failure;
use crate::seq::StreamSeq;
use crate::task::history::History;
use crate::task::once::Span;
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
        end: TaskEnd,
    },
}
