//! The run of a schedule, or the part of a workflow, that a task is, as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::flow::MemberOf;
use waybill_domain::recurring::RunOf;
use waybill_edge::iso::Iso;

/// The run of a schedule that a task is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskRun {
    /// Id of the schedule.
    #[schema(example = "sched_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    pub id: String,
    /// The version of the schedule that was due.
    pub version: u32,
    /// The same for each schedule, version and instant.
    #[schema(example = "run_5f2b1c0a9d8e7f6a5b4c3d2e1f0a9b8c")]
    pub run_id: String,
    /// What it is due for; of a run that somebody asked for, when that was.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Iso,
    /// Whether somebody asked for it.
    pub manual: bool,
}

impl From<&RunOf> for TaskRun {
    fn from(run: &RunOf) -> Self {
        Self {
            id: run.schedule.to_string(),
            version: run.version,
            run_id: run.run.to_string(),
            due_at: Iso(run.due),
            manual: run.manual,
        }
    }
}

/// The workflow that a task is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskWorkflow {
    /// Id of the workflow.
    #[schema(example = "flow_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    pub id: String,
    /// Its name in the workflow.
    #[schema(example = "load")]
    pub name: String,
    /// The retry of the workflow that made it; 0: it was made with the workflow.
    pub retry: u16,
}

impl From<&MemberOf> for TaskWorkflow {
    fn from(member: &MemberOf) -> Self {
        Self {
            id: member.workflow.to_string(),
            name: member.name.clone(),
            retry: member.retry,
        }
    }
}
