//! Queries about workflows.

use serde::{Deserialize, Serialize};
use waybill_domain::flow::{About, RunAfterMode};
use waybill_domain::id::{QueueName, TaskId, TeamId, WorkflowId};
use waybill_domain::task::{EndReason, Status};
use waybill_domain::time::Timestamp;
use waybill_domain::workflow::{FlowStatus, Tally};

/// A workflow with all of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFlow {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    pub workflow: WorkflowId,
}

query!(GetFlow => Option<Flow>, "wb.query.flow");

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// What its client says of it; `None` if that is no longer kept.
    pub about: Option<About>,
    pub queue: QueueName,
    pub created_at: Timestamp,
    /// The latest task of each member, those that others run after before these.
    pub members: Vec<FlowMember>,
    /// How often it was retried.
    pub retries: u16,
}

impl Flow {
    /// Whether those that a member runs after let it run.
    #[must_use]
    pub fn lets_run(&self, name: &str) -> bool {
        let Some(member) = self.members.iter().find(|member| member.name == name) else {
            return false;
        };
        let has_completed = |place: &u16| {
            let other = self.members.get(usize::from(*place));
            other.is_some_and(|other| other.status == Status::Completed)
        };
        match member.mode {
            _ if member.after.is_empty() => true,
            RunAfterMode::All => member.after.iter().all(has_completed),
            RunAfterMode::Any => member.after.iter().any(has_completed),
        }
    }
}

/// The latest task of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowMember {
    pub task: TaskId,
    pub name: String,
    /// The retry that made the task; 0: it is the first one.
    pub retry: u16,
    /// Those that it runs after, as places among the members.
    pub after: Vec<u16>,
    pub mode: RunAfterMode,
    pub status: Status,
    pub end_reason: Option<EndReason>,
    /// Why it failed, or why its last attempt did.
    pub error: Option<String>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
}

/// Workflows of a team, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListFlows {
    /// The team, in the environment of the tasks.
    pub team: TeamId,
    /// Only those that stand like this.
    pub status: Option<FlowStatus>,
    /// From 1 to [`super::MAX_LIMIT`].
    pub limit: u16,
    pub cursor: Option<String>,
}

query!(ListFlows => FlowPage, "wb.query.flows");

/// A page of workflows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowPage {
    pub flows: Vec<FlowSummary>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A workflow without its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSummary {
    pub workflow: WorkflowId,
    pub about: About,
    pub queue: QueueName,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// When the last member ended, if all have.
    pub completed_at: Option<Timestamp>,
    pub tally: Tally,
}
