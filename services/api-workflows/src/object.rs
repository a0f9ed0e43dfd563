//! A workflow as clients see it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::flow::{About, RunAfterMode};
use waybill_domain::id::{Environment, TeamId, WorkflowId};
use waybill_domain::task::{EndReason, Status};
use waybill_domain::workflow::{FlowStatus, Tally};
use waybill_edge::iso::Iso;
use waybill_edge::warnings::Warning;
use waybill_projector::query::{Flow, FlowMember, FlowSummary};

/// The answer about a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowEnvelope {
    pub(crate) workflow: WorkflowObject,
    /// The parts of the request that have no effect: at most 20. Absent if all of it has an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<Warning>,
}

/// Tasks that were made together, of which some run after others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowObject {
    #[schema(example = "flow_01kc0q2v9x3d8e5h7j9m1n3p5r")]
    pub(crate) id: String,
    /// `live` or `test`: where its tasks are.
    pub(crate) environment: Environment,
    /// `null` if what was said of it is no longer kept.
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// The queue of its tasks.
    pub(crate) queue: String,
    pub(crate) status: FlowStatus,
    pub(crate) progress: WorkflowProgress,
    /// How often it was retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<u16>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Iso,
    /// When its first attempt began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Iso>,
    /// When its last task ended, if all have.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) completed_at: Option<Iso>,
    /// Its tasks, those that others run after first. Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tasks: Option<Vec<WorkflowTask>>,
}

/// How many tasks of a workflow stand how; of a task that was retried, the last try counts.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowProgress {
    pub(crate) total: u32,
    /// They wait, for whatever reason.
    pub(crate) pending: u32,
    /// An attempt of them is running.
    pub(crate) processing: u32,
    pub(crate) completed: u32,
    /// They failed, or were too late.
    pub(crate) failed: u32,
    pub(crate) cancelled: u32,
    /// How many have ended, in percent, rounded down.
    pub(crate) percent: u32,
}

impl From<Tally> for WorkflowProgress {
    fn from(tally: Tally) -> Self {
        let ended = tally.completed + tally.failed + tally.cancelled;
        Self {
            total: tally.total(),
            pending: tally.pending,
            processing: tally.processing,
            completed: tally.completed,
            failed: tally.failed,
            cancelled: tally.cancelled,
            percent: (ended * 100).checked_div(tally.total()).unwrap_or(0),
        }
    }
}

/// A task of a workflow. Everything else about it: `GET /v1/tasks/{taskId}`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowTask {
    /// Its name within the workflow.
    pub(crate) name: String,
    /// Id of its task; after a retry, of the last one.
    #[schema(example = "task_01kc0q2v9x3d8e5h7j9m1n3p5r0d")]
    pub(crate) task_id: String,
    /// The names of the tasks that it runs after.
    pub(crate) run_after: Vec<String>,
    pub(crate) run_after_mode: RunAfterMode,
    pub(crate) status: Status,
    /// Why it ended. `predecessor`: a task did not complete, after which it was to run, directly or through others.
    pub(crate) end_reason: Option<EndReason>,
    /// Why it failed, or why its last attempt did.
    pub(crate) error: Option<String>,
    /// The retry of the workflow that made the task; 0: it was made with the workflow.
    pub(crate) retry: u16,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) completed_at: Option<Iso>,
}

/// How many members stand how.
pub fn tally(flow: &Flow) -> Tally {
    let mut tally = Tally::default();
    for member in &flow.members {
        tally.count(member.status);
    }
    tally
}

impl WorkflowObject {
    pub(crate) fn of(id: &WorkflowId, team: &TeamId, flow: Flow) -> Self {
        let tally = tally(&flow);
        let ends: Option<Vec<_>> = flow.members.iter().map(|m| m.completed_at).collect();
        let started = flow.members.iter().filter_map(|member| member.started_at);
        let started_at = started.min().map(Iso);
        let names: Vec<String> = flow.members.iter().map(|m| m.name.clone()).collect();
        let tasks = flow.members.into_iter();
        Self {
            tasks: Some(
                tasks
                    .map(|member| WorkflowTask::of(member, &names))
                    .collect(),
            ),
            retries: Some(flow.retries),
            started_at,
            completed_at: ends.and_then(|ends| ends.into_iter().max()).map(Iso),
            ..Self::bare(
                id,
                team,
                flow.about,
                flow.queue.to_string(),
                tally,
                flow.created_at,
            )
        }
    }

    pub(crate) fn listed(team: &TeamId, summary: FlowSummary) -> Self {
        let about = Some(summary.about);
        Self {
            started_at: summary.started_at.map(Iso),
            completed_at: summary.completed_at.map(Iso),
            ..Self::bare(
                &summary.workflow,
                team,
                about,
                summary.queue.to_string(),
                summary.tally,
                summary.created_at,
            )
        }
    }

    fn bare(
        id: &WorkflowId,
        team: &TeamId,
        about: Option<About>,
        queue: String,
        tally: Tally,
        created_at: waybill_domain::time::Timestamp,
    ) -> Self {
        let (name, description, metadata) = match about {
            Some(about) => (Some(about.name), about.description, about.metadata),
            None => (None, None, BTreeMap::new()),
        };
        Self {
            id: id.to_string(),
            environment: team.environment(),
            name,
            description,
            metadata,
            queue,
            status: tally.status(),
            progress: tally.into(),
            retries: None,
            created_at: Iso(created_at),
            started_at: None,
            completed_at: None,
            tasks: None,
        }
    }
}

impl WorkflowTask {
    fn of(member: FlowMember, names: &[String]) -> Self {
        let before = member.after.iter();
        let before = before.filter_map(|place| names.get(usize::from(*place)).cloned());
        Self {
            task_id: member.task.to_string(),
            run_after: before.collect(),
            run_after_mode: member.mode,
            status: member.status,
            end_reason: member.end_reason,
            error: member.error,
            retry: member.retry,
            created_at: Iso(member.created_at),
            started_at: member.started_at.map(Iso),
            completed_at: member.completed_at.map(Iso),
            name: member.name,
        }
    }
}
