//! Queries about dead letters: tasks that failed for good, by what they have in common.

use serde::{Deserialize, Serialize};
use waybill_domain::id::{TaskId, TeamId};
use waybill_domain::time::Timestamp;

use super::tasks::{Searched, TaskFilter};

/// Limit of groups in one answer.
pub const MAX_GROUPS: u16 = 100;

/// Dead letters of a team by their causes, most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDeadLetters {
    pub team: TeamId,
    /// Which of them.
    #[serde(default)]
    pub filter: TaskFilter,
    /// From 1 to [`MAX_GROUPS`].
    pub limit: u16,
}

query!(GroupDeadLetters => DeadGroups, "wb.query.dead_groups");

/// Groups of dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadGroups {
    /// Most frequent first.
    pub groups: Vec<DeadGroup>,
    /// Dead letters in all groups, also in those that are not in `groups`.
    pub total: u64,
    /// Dead letters that belong to none of `groups`.
    pub others: u64,
    /// What was looked at.
    pub searched: Searched,
}

/// What dead letters of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadCause {
    /// The target's host, with its port unless that is the scheme's own.
    pub host: String,
    /// HTTP status of the last answer, if there was one.
    pub status: Option<u16>,
    /// The error, without what differs from task to task.
    pub error: String,
}

/// Dead letters of one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadGroup {
    pub cause: DeadCause,
    pub count: u64,
    /// When the first and the last of them ended.
    pub first: Timestamp,
    pub last: Timestamp,
    /// The one that ended last.
    pub example: TaskId,
}
