//! The rules of workflows: [`graph`], which members run after which; [`places`], how results are
//! handed on; and how a workflow stands. The dispatcher applies them.

pub mod graph;
pub mod places;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::id::{TaskId, WorkflowId};
use crate::partition::Partition;
use crate::task::Status;
use crate::time::Timestamp;

/// Limit of the members of a workflow.
pub const MAX_MEMBERS: usize = 1_000;
/// Limit of the names in all `runAfter` of a workflow together.
pub const MAX_LINKS: usize = 10_000;
/// Limit of the name of a member, in characters.
pub const MAX_MEMBER_NAME: usize = 100;
/// Limit of the name of a workflow, in characters.
pub const MAX_NAME_CHARS: usize = 255;
/// Limit of the description of a workflow, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 1_000;
/// How often a workflow may be retried.
pub const MAX_RETRIES: u16 = 1_000;

/// The id of a member's task: it follows from the workflow, the name and the try, so whoever makes
/// it a second time makes the same.
#[must_use]
pub fn task_id(
    workflow: &WorkflowId,
    name: &str,
    retry: u16,
    at: Timestamp,
    partition: Partition,
) -> TaskId {
    let digest = Sha256::digest(format!("{workflow} {retry} {name}"));
    let mut bits = [0; 16];
    bits.copy_from_slice(&digest[..16]);
    TaskId::new(at, u128::from_be_bytes(bits), partition)
}

/// How a workflow stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "camelCase")]
#[schema(as = WorkflowStatus)]
pub enum FlowStatus {
    /// No member has started or ended.
    Pending,
    /// Some have not ended.
    Running,
    /// All have completed.
    Completed,
    /// All have ended, and at least one failed or was too late.
    Failed,
    /// All have ended, none failed, and some were cancelled.
    Cancelled,
}

impl FlowStatus {
    /// The name in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "pending" => Some(Self::Pending),
            "running" => Some(Self::Running),
            "completed" => Some(Self::Completed),
            "failed" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// How many members of a workflow stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Waiting, for whatever reason.
    pub pending: u32,
    pub processing: u32,
    pub completed: u32,
    /// Those that were too late are among them.
    pub failed: u32,
    pub cancelled: u32,
}

impl Tally {
    /// Counts a member.
    pub fn count(&mut self, status: Status) {
        let of = match status {
            Status::Pending | Status::Delayed => &mut self.pending,
            Status::Processing => &mut self.processing,
            Status::Completed => &mut self.completed,
            Status::Failed | Status::Timeout => &mut self.failed,
            Status::Cancelled => &mut self.cancelled,
        };
        *of += 1;
    }

    /// All members.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.pending + self.processing + self.completed + self.failed + self.cancelled
    }

    /// How the workflow stands.
    #[must_use]
    pub fn status(&self) -> FlowStatus {
        match self {
            _ if self.pending == self.total() => FlowStatus::Pending,
            _ if self.pending + self.processing > 0 => FlowStatus::Running,
            _ if self.failed > 0 => FlowStatus::Failed,
            _ if self.cancelled > 0 => FlowStatus::Cancelled,
            _ => FlowStatus::Completed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_stands_as_its_members_do() {
        use Status::{Cancelled, Completed, Delayed, Failed, Pending, Processing, Timeout};
        for (members, status) in [
            (&[Pending, Delayed][..], FlowStatus::Pending),
            (&[Pending, Completed], FlowStatus::Running),
            (&[Processing, Failed], FlowStatus::Running),
            (&[Completed, Completed], FlowStatus::Completed),
            (&[Completed, Timeout, Cancelled], FlowStatus::Failed),
            (&[Completed, Cancelled], FlowStatus::Cancelled),
        ] {
            let mut tally = Tally::default();
            members.iter().for_each(|member| tally.count(*member));
            assert_eq!(tally.status(), status, "{members:?}");
            assert_eq!(tally.total() as usize, members.len());
        }
    }

    #[test]
    fn the_id_of_a_member_follows_from_its_name_and_try() {
        let (at, partition) = (Timestamp(1_800_000_000_000), Partition::default());
        let workflow = WorkflowId::new(at, 7);
        let id = |name, retry| task_id(&workflow, name, retry, at, partition);
        assert_eq!(id("a", 0), id("a", 0));
        assert_ne!(id("a", 0), id("a", 1));
        assert_ne!(id("a", 0), id("b", 0));
    }
}
