//! An attempt of a task: one call of its target, or one claim of a worker.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::task::row::Attempt;
use waybill_edge::iso::Iso;

/// One call of the target, or one claim of a worker, as the task's history shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskAttempt {
    /// 1, 2, 3...
    pub number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Iso,
    /// Milliseconds; `null` while it runs or when it was lost.
    pub duration: Option<u32>,
    /// HTTP status, when the target answered.
    pub status_code: Option<u16>,
    /// Why it failed.
    pub error: Option<String>,
    /// Name of the worker that claimed it. Absent of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
}

impl From<Attempt> for TaskAttempt {
    fn from(attempt: Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: Iso(attempt.started_at),
            duration: attempt.duration_ms,
            status_code: attempt.status,
            error: attempt.error,
            worker: attempt.worker,
        }
    }
}
