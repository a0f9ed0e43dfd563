//! What a batch changes of a task.

use waybill_domain::task::{Status, TaskRow};

use super::jobs;
use super::stats::Times;

/// A task that the batch changes.
pub(super) struct Touched {
    /// Its status in the store; `None` if it is not stored yet.
    pub(super) before: Option<Status>,
    /// Its times in the store.
    pub(super) times: Option<Times>,
    /// Where it counts among jobs in the store.
    pub(super) job: Option<usize>,
    // Boxed, since a row is large, and maps move what they hold when they grow.
    pub(super) row: Box<TaskRow>,
}

impl Touched {
    pub(super) fn stored(row: Box<TaskRow>) -> Self {
        Self {
            before: Some(row.status),
            times: Some(Times::of(&row)),
            job: jobs::slot(&row),
            row,
        }
    }

    pub(super) fn new(row: Box<TaskRow>) -> Self {
        Self {
            before: None,
            times: None,
            job: None,
            row,
        }
    }
}
