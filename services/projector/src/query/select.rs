//! Selections of tasks: what an operation on many tasks goes through.

use serde::{Deserialize, Serialize};
use waybill_domain::id::TeamId;
use waybill_domain::task::TaskRow;
use waybill_domain::time::Timestamp;

use super::tasks::TaskFilter;

/// The next tasks of a team that match, newest first. Unlike a list it stops when it is full, and
/// does not count what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectTasks {
    pub team: TeamId,
    #[serde(default)]
    pub filter: TaskFilter,
    /// Also tasks that were cancelled at this time or later and match but for their status: what an
    /// operation has cancelled is still its own.
    #[serde(default)]
    pub or_cancelled_since: Option<Timestamp>,
    /// `next` of an earlier answer: goes on there.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Up to [`super::MAX_LIMIT`]; 0 only counts.
    pub limit: u16,
}

query!(SelectTasks => Selection, "wb.query.select");

/// Tasks that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Newest first; none when only counted.
    pub rows: Vec<TaskRow>,
    /// How many were found, up to where `next` goes on.
    pub count: u64,
    /// Where to go on; `None`: nothing is left. There may be no further match behind it.
    pub next: Option<String>,
}
