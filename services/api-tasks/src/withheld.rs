//! What of a task is not shown to everybody: a viewer sees the bodies and headers of tasks and answers only if an owner of the team says so.

use http::StatusCode;
use waybill_edge::error::{ApiError, ErrorCode};

use crate::object::{HeaderMap, Task, TaskResult};

/// What a caller sees of the bodies and headers of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sees(pub(crate) bool);

impl Sees {
    /// A task as this caller sees it. What is withheld is named, and no longer counts as missing for want of room.
    pub(crate) fn task(self, task: Task) -> Task {
        if self.0 {
            return task;
        }
        let (result, of_result) = match task.result {
            Some(result) => {
                let (result, withheld) = self.result(result);
                (Some(result), withheld)
            }
            None => (None, Vec::new()),
        };
        let mut withheld = vec!["headers", "body"];
        withheld.extend(of_result);
        let mut truncated = task.truncated;
        truncated.retain(|name| !withheld.contains(name));
        Task {
            headers: HeaderMap(Vec::new()),
            body: None,
            body_encoding: None,
            result,
            truncated,
            withheld,
            ..task
        }
    }

    /// An answer as this caller sees it, and the names of what is withheld.
    pub(crate) fn result(self, result: TaskResult) -> (TaskResult, Vec<&'static str>) {
        if self.0 {
            return (result, Vec::new());
        }
        let shown = TaskResult {
            headers: None,
            body: None,
            body_encoding: None,
            ..result
        };
        (shown, vec!["result.headers", "result.body"])
    }

    /// Refuses what consists of nothing else.
    pub(crate) fn needed(self) -> Result<(), ApiError> {
        if self.0 {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::PayloadWithheld,
            "Viewers of this team do not see the bodies of tasks; an owner can change that, or your role",
        ))
    }
}
