//! The names of the server-sent events in streams of tasks, with what each one means: for descriptions of the API.

use std::borrow::Cow;

use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use waybill_domain::event::TaskEvent;

/// What can happen to a task, as subscribers see it.
#[derive(Debug)]
pub struct TaskEventType;

impl TaskEventType {
    /// All names, such as `task.succeeded`.
    pub fn names() -> impl Iterator<Item = String> {
        TaskEvent::KINDS.iter().map(|kind| format!("task.{kind}"))
    }

    /// All names, each with a sentence on what happened.
    pub fn meanings() -> impl Iterator<Item = (String, &'static str)> {
        Self::names().zip(TaskEvent::KINDS.iter().map(|kind| meaning(kind)))
    }
}

impl PartialSchema for TaskEventType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What can happen to a task"))
            .enum_values(Some(Self::names()))
            .into()
    }
}

impl ToSchema for TaskEventType {
    fn name() -> Cow<'static, str> {
        "TaskEventType".into()
    }
}

fn meaning(kind: &str) -> &'static str {
    match kind {
        "created" => "the task was accepted",
        "started" => "an attempt begins",
        "attempt_failed" => "an attempt failed, and another one follows at `retryAt`",
        "released" => {
            "the worker was stopped during the attempt, which is repeated and uses up no retry"
        }
        "succeeded" => "the target answered, and that ends the task; `ok` says how",
        "dead" => "the last attempt failed, or the failure is final",
        "run_requested" => {
            "somebody asked for the task to run now, before its time or its retry was due"
        }
        "cancel_requested" => "the attempt that is being made is to be cut off",
        "cancelled" => "the task was cancelled",
        "expired" => "the deadline of the task has passed",
        "callback_sent" => "the completion webhook was delivered",
        "callback_failed" => "a delivery of the completion webhook failed",
        "purged" => "somebody removed the failed task from the dead letters",
        "callback_requested" => "somebody asked for the completion webhook once more",
        "priority_changed" => "a task that waits got another `priority`",
        "progressed" => "the worker that has claimed the task says how far it has come",
        "unblocked" => "a failed task no longer blocks those behind it by its `orderingKey`",
        "limit_paused" => {
            "the target said that it is called too often, which pauses a limit of the task"
        }
        "target_disabled" => {
            "the host of the task has failed for as long as its rule says, and is not probed any more"
        }
        _ => "something happened to the task",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_described() {
        for (name, meaning) in TaskEventType::meanings() {
            assert_ne!(meaning, super::meaning("something else"), "{name}");
        }
    }
}
