//! What a request to run a task now does to it: a task that waits for its time or for its retry
//! becomes ready at once. It uses up no retry, since nothing has failed.

use super::cancel::{Outline, RequestStage, Stage};
use crate::event::RunRequested;
use crate::id::TaskId;
use crate::time::Timestamp;

/// Why a request to run a task now changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunRefused {
    /// The task has ended.
    NotOpen,
    /// An attempt is running.
    Running,
    /// The task waits for nothing but a free slot.
    Ready,
    /// What becomes of the task is being stored; ask again after that.
    BeingDecided,
}

/// Decides what a request to run a task now leads to. `waits` says whether an idle task waits for
/// its time or its retry, `attempts` how many attempts have started.
///
/// # Errors
/// If it changes nothing.
pub fn run_now(
    id: TaskId,
    task: Outline,
    waits: bool,
    attempts: u32,
    at: Timestamp,
) -> Result<RunRequested, RunRefused> {
    match task.stage {
        Stage::Ended => Err(RunRefused::NotOpen),
        _ if task.is_being_decided || task.request != RequestStage::None => {
            Err(RunRefused::BeingDecided)
        }
        Stage::Running { .. } => Err(RunRefused::Running),
        Stage::Idle if waits => Ok(RunRequested {
            id,
            at,
            attempts: Some(attempts),
        }),
        Stage::Idle => Err(RunRefused::Ready),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partition;

    #[test]
    fn only_a_task_that_waits_is_moved() {
        let id = TaskId::new(Timestamp(1), 1, Partition::new(0).expect("a partition"));
        let at = Timestamp(7);
        let decided = |stage, is_being_decided, request, waits| {
            let task = Outline {
                stage,
                is_being_decided,
                request,
            };
            run_now(id, task, waits, 3, at)
        };
        let runs = RunRequested {
            id,
            at,
            attempts: Some(3),
        };
        let running = Stage::Running { attempt: 2 };
        let none = RequestStage::None;
        for (stage, busy, request, waits, expected) in [
            (Stage::Idle, false, none, true, Ok(runs)),
            (Stage::Idle, false, none, false, Err(RunRefused::Ready)),
            (Stage::Idle, true, none, true, Err(RunRefused::BeingDecided)),
            (running, false, none, false, Err(RunRefused::Running)),
            (running, true, none, false, Err(RunRefused::BeingDecided)),
            (Stage::Ended, true, none, false, Err(RunRefused::NotOpen)),
            // It is about to be cancelled.
            (
                Stage::Idle,
                false,
                RequestStage::Stored,
                true,
                Err(RunRefused::BeingDecided),
            ),
        ] {
            assert_eq!(decided(stage, busy, request, waits), expected);
        }
    }
}
