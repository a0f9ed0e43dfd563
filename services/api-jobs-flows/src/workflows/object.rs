//! A workflow as it is read, and its jobs.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_jobs::models::job::JobsJob;
use waybill_api_jobs::models::status::JobsStatus;
use waybill_api_tasks::TasksApi;
use waybill_api_workflows::object::tally;
use waybill_commands::entropy;
use waybill_domain::flow::{About, RunAfterMode};
use waybill_domain::id::{TaskId, TeamId, WorkflowId};
use waybill_domain::task::{JobStatus, Status};
use waybill_domain::time::Timestamp;
use waybill_domain::workflow::{FlowStatus, Tally};
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_log::StreamSeq;
use waybill_projector::query::{
    Detail, Flow, FlowMember, FlowSummary, GetTask, Position, TaskView,
};

use super::uuid_text;

/// So many jobs are read at the same time.
const AT_A_TIME: usize = 16;

/// Jobs that were made together, of which some run after others.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflow {
    /// A UUID.
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub status: FlowStatus,
    pub total_jobs: u32,
    pub completed_jobs: u32,
    pub failed_jobs: u32,
    /// How many have ended, from 0 to 100.
    pub progress_percent: f64,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
}

/// A workflow with its jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowDetail {
    #[serde(flatten)]
    pub workflow: JobsWorkflow,
    pub organization_id: String,
    pub progress: JobsWorkflowProgress,
    /// Those that others depend on first.
    pub jobs: Vec<JobsWorkflowJob>,
    pub dependencies: Vec<JobsWorkflowLink>,
}

/// How many jobs of a workflow stand how.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct JobsWorkflowProgress {
    pub total: u32,
    pub completed: u32,
    /// Those that were cancelled are among them.
    pub failed: u32,
    pub pending: u32,
    pub processing: u32,
}

/// A job that depends on another one.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowLink {
    pub parent_job_id: String,
    pub child_job_id: String,
    pub dependency_type: RunAfterMode,
}

/// A job of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowJob {
    /// A UUID.
    pub id: String,
    /// A UUID.
    pub workflow_id: String,
    /// Its name within the workflow.
    pub key: String,
    pub queue_name: String,
    /// The same as `queue_name`.
    pub queue: String,
    pub status: JobsStatus,
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    #[schema(value_type = Option<serde_json::Value>)]
    pub result: Option<Box<RawValue>>,
    pub error: Option<JobsWorkflowJobError>,
    /// Its tags.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
    pub priority: i16,
    pub max_retries: u16,
    pub attempt: u16,
    pub timeout_seconds: u32,
    pub timeout_ms: u64,
    /// UUIDs of the jobs that it runs after.
    pub depends_on: Vec<String>,
    pub dependency_mode: RunAfterMode,
    pub parent_job_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
}

/// Why a job of a workflow failed last.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowJobError {
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same as `type`.
    pub error_type: &'static str,
    pub message: String,
    pub stack: Option<String>,
}

impl JobsWorkflowJobError {
    fn new(message: String) -> Self {
        const KIND: &str = "JobError";
        Self {
            kind: KIND,
            error_type: KIND,
            message,
            stack: None,
        }
    }
}

/// How a job of a workflow stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsWorkflowJobStatus {
    pub key: String,
    /// A UUID.
    pub job_id: String,
    pub status: JobsStatus,
    /// `null`: it is not known.
    pub progress: Option<f64>,
}

impl From<Tally> for JobsWorkflowProgress {
    fn from(tally: Tally) -> Self {
        Self {
            total: tally.total(),
            completed: tally.completed,
            failed: tally.failed + tally.cancelled,
            pending: tally.pending,
            processing: tally.processing,
        }
    }
}

impl JobsWorkflow {
    pub(super) fn of(id: &WorkflowId, flow: &Flow) -> Self {
        let ends: Option<Vec<_>> = flow.members.iter().map(|of| of.completed_at).collect();
        let starts = flow.members.iter().filter_map(|of| of.started_at);
        Self {
            started_at: starts.min().map(Iso),
            completed_at: ends.and_then(|ends| ends.into_iter().max()).map(Iso),
            ..Self::bare(id, flow.about.clone(), tally(flow), flow.created_at)
        }
    }

    pub(super) fn listed(summary: FlowSummary) -> Self {
        Self {
            started_at: summary.started_at.map(Iso),
            completed_at: summary.completed_at.map(Iso),
            ..Self::bare(
                &summary.workflow,
                Some(summary.about),
                summary.tally,
                summary.created_at,
            )
        }
    }

    fn bare(id: &WorkflowId, about: Option<About>, tally: Tally, at: Timestamp) -> Self {
        let (name, description, metadata) = match about {
            Some(about) => {
                let native = || {
                    let given = Some(&about.metadata).filter(|given| !given.is_empty());
                    given.and_then(|given| serde_json::to_string(given).ok())
                };
                let metadata = about.json.clone().or_else(native);
                (about.name, about.description, metadata)
            }
            None => Default::default(),
        };
        let (total, ended) = (
            tally.total(),
            tally.completed + tally.failed + tally.cancelled,
        );
        let percent = if total == 0 {
            0.0
        } else {
            f64::from(ended) * 100.0 / f64::from(total)
        };
        Self {
            id: uuid_text(id),
            name,
            description,
            status: tally.status(),
            total_jobs: total,
            completed_jobs: tally.completed,
            failed_jobs: tally.failed,
            progress_percent: percent,
            created_at: Iso(at),
            started_at: None,
            completed_at: None,
            metadata: metadata.and_then(|text| RawValue::from_string(text).ok()),
        }
    }
}

impl JobsWorkflowDetail {
    pub(super) async fn read(
        state: &TasksApi,
        team: &TeamId,
        id: &WorkflowId,
        flow: &Flow,
    ) -> Result<Self, ApiError> {
        let jobs = JobsWorkflowJob::read_all(state, team, id, flow).await?;
        let links = flow.members.iter().zip(&jobs).flat_map(|(member, job)| {
            job.depends_on.iter().map(|parent| JobsWorkflowLink {
                parent_job_id: parent.clone(),
                child_job_id: job.id.clone(),
                dependency_type: member.mode,
            })
        });
        Ok(Self {
            workflow: JobsWorkflow::of(id, flow),
            organization_id: team.base_str().to_owned(),
            progress: tally(flow).into(),
            dependencies: links.collect(),
            jobs,
        })
    }
}

impl JobsWorkflowJob {
    /// The jobs of a workflow, with their payloads and results.
    pub(super) async fn read_all(
        state: &TasksApi,
        team: &TeamId,
        id: &WorkflowId,
        flow: &Flow,
    ) -> Result<Vec<Self>, ApiError> {
        let views = views(state, team, flow).await?;
        let mut jobs = Vec::with_capacity(views.len());
        let ids = ids(&views);
        for (member, mut view) in flow.members.iter().zip(views) {
            if view.detail == Detail::Omitted {
                view.detail = waybill_projector::detail::read(&*state.log, &view.row).await?;
            }
            let status = job_status(member, &view);
            let after = member.after.iter();
            let after = after.filter_map(|place| ids.get(place).cloned()).collect();
            let job = JobsJob::read(status, view);
            jobs.push(Self::of(id, member, after, job));
        }
        Ok(jobs)
    }

    fn of(id: &WorkflowId, member: &FlowMember, depends_on: Vec<String>, job: JobsJob) -> Self {
        Self {
            id: job.id,
            workflow_id: uuid_text(id),
            key: member.name.clone(),
            queue: job.queue_name.clone(),
            queue_name: job.queue_name,
            status: job.status,
            payload: job.payload,
            result: job.result,
            error: job.last_error.map(JobsWorkflowJobError::new),
            metadata: job.tags,
            priority: job.priority,
            max_retries: job.max_retries,
            attempt: job.retry_count,
            timeout_seconds: job.timeout_seconds,
            timeout_ms: u64::from(job.timeout_seconds) * 1_000,
            depends_on,
            dependency_mode: member.mode,
            parent_job_id: None,
            created_at: job.created_at,
            started_at: job.started_at,
            completed_at: job.completed_at,
        }
    }
}

/// The tasks of a workflow's members, in their order.
pub(super) async fn views(
    state: &TasksApi,
    team: &TeamId,
    flow: &Flow,
) -> Result<Vec<TaskView>, ApiError> {
    let known = state.acknowledged.to(team);
    let tasks: Vec<_> = flow.members.iter().map(|member| member.task).collect();
    futures::stream::iter(tasks)
        .map(async |task| view(state, team, task, known).await)
        .buffered(AT_A_TIME)
        .try_collect()
        .await
}

async fn view(
    state: &TasksApi,
    team: &TeamId,
    id: TaskId,
    known: StreamSeq,
) -> Result<TaskView, ApiError> {
    let query = GetTask {
        id,
        team: Some(team.clone()),
        detail: false,
    };
    let asked = state.queries.ask(query, Position::tasks(known)).await?;
    // Its row was there a moment ago: it has just ended being kept.
    asked
        .value
        .ok_or_else(|| ApiError::not_found("Workflow not found"))
}

/// The UUIDs of jobs, by the places of their members.
pub(super) fn ids(views: &[TaskView]) -> HashMap<u16, String> {
    let ids = views.iter().map(|view| view.row.job_root().uuid_text());
    (0..).zip(ids).collect()
}

/// How the job of a member stands, also if it is a called task of the native API.
pub(super) fn job_status(member: &FlowMember, view: &TaskView) -> JobStatus {
    let known = JobStatus::of(&view.row, entropy::now());
    known.unwrap_or(match member.status {
        Status::Pending => JobStatus::Pending,
        Status::Delayed => JobStatus::Scheduled,
        Status::Processing => JobStatus::Processing,
        Status::Completed => JobStatus::Completed,
        Status::Cancelled => JobStatus::Cancelled,
        Status::Failed | Status::Timeout => JobStatus::Failed,
    })
}
