//! A task as the whole of an answer.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_edge::warnings::Warning;

use super::Task;
use crate::explain::PlannedAttempt;

/// `{"task": ...}`
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TaskEnvelope {
    /// The task as it was after the request.
    pub task: Task,
    /// The parts of the request that have no effect: at most 20. Absent if all of it has an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// When its attempts would be made, with `?explain=retries` on a creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Vec<PlannedAttempt>>,
}

impl TaskEnvelope {
    /// A task, and warnings of what in the request has no effect.
    pub fn new(task: Task, warnings: Vec<Warning>) -> Self {
        Self {
            task,
            warnings,
            retries: None,
        }
    }
}
