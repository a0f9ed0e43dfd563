//! What a request to change the priority of a task does to it: a task that waits, for its time, its
//! retry or its turn, has the new one at once. One that runs keeps its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Priority;
use super::cancel::{Outline, RequestStage, Stage};
use crate::event::PriorityChanged;
use crate::id::OperationId;

/// The last change of a task's priority, as far as it still matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedPriority {
    /// The priority of the task.
    pub to: Priority,
    /// The one that it had before.
    pub from: Priority,
    /// The operation that changed it, which may be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

impl From<&PriorityChanged> for ChangedPriority {
    fn from(event: &PriorityChanged) -> Self {
        Self {
            to: event.priority,
            from: event.from,
            operation: event.operation.clone(),
        }
    }
}

/// Why a request to change the priority of a task changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorityRefused {
    /// The task has ended.
    NotOpen,
    /// An attempt is running.
    Running,
    /// It has that priority.
    Same,
    /// What becomes of the task is being stored; ask again after that.
    BeingDecided,
}

/// Decides whether the priority of a task may change. `from` is the one that it has, `to` the one
/// that is wanted.
///
/// # Errors
/// If it changes nothing.
pub fn change_priority(task: Outline, from: Priority, to: Priority) -> Result<(), PriorityRefused> {
    match task.stage {
        Stage::Ended => Err(PriorityRefused::NotOpen),
        _ if task.is_being_decided || task.request != RequestStage::None => {
            Err(PriorityRefused::BeingDecided)
        }
        Stage::Running { .. } => Err(PriorityRefused::Running),
        Stage::Idle if from == to => Err(PriorityRefused::Same),
        Stage::Idle => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_task_that_waits_gets_another_priority() {
        let running = Stage::Running { attempt: 2 };
        let none = RequestStage::None;
        for (stage, is_being_decided, request, to, expected) in [
            (Stage::Idle, false, none, 7, Ok(())),
            (Stage::Idle, false, none, 5, Err(PriorityRefused::Same)),
            (
                Stage::Idle,
                true,
                none,
                7,
                Err(PriorityRefused::BeingDecided),
            ),
            (running, false, none, 7, Err(PriorityRefused::Running)),
            (running, false, none, 5, Err(PriorityRefused::Running)),
            (running, true, none, 7, Err(PriorityRefused::BeingDecided)),
            (Stage::Ended, true, none, 7, Err(PriorityRefused::NotOpen)),
            // It is about to be cancelled.
            (
                Stage::Idle,
                false,
                RequestStage::Stored,
                7,
                Err(PriorityRefused::BeingDecided),
            ),
        ] {
            let task = Outline {
                stage,
                is_being_decided,
                request,
            };
            let to = Priority::new(to).expect("1 to 10");
            assert_eq!(change_priority(task, Priority::DEFAULT, to), expected);
        }
    }
}
