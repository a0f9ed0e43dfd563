//! `GET /api/v1/schedules/{id}/history`.

use axum::extract::{Path, State};
use axum::response::Response;
use futures::{StreamExt, TryStreamExt};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_jobs::body::Ignored;
use waybill_api_jobs::find as jobs;
use waybill_api_jobs::models::job::last_error;
use waybill_api_jobs::models::status::JobsStatus;
use waybill_api_tasks::TasksApi;
use waybill_domain::event::ScheduleSettled;
use waybill_domain::recurring::{Outcome, RunId};
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_projector::query::{ListRuns, Position, Run};

use super::find;

/// Most runs in an answer.
const MAX_LIMIT: i64 = 100;
/// Runs in the answer to a request that does not say how many.
const USUAL_LIMIT: i64 = 50;
/// So many jobs are read at the same time.
const AT_A_TIME: usize = 8;

/// How many runs.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsHistoryParams {
    /// 1 to 100; 50 without it. What is out of range counts as the nearest.
    pub limit: Option<i64>,
}

impl HasLists for JobsHistoryParams {}

/// A run of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsScheduleRun {
    pub id: String,
    pub schedule_id: String,
    /// `null` if none was made.
    pub job_id: Option<String>,
    pub status: JobsRunStatus,
    /// How its job stands.
    pub job_status: Option<JobsStatus>,
    pub error_message: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Iso,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Iso>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is its word")]
pub enum JobsRunStatus {
    Pending,
    Running,
    Completed,
    Failed,
}

impl From<JobStatus> for JobsRunStatus {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Pending | JobStatus::Scheduled => Self::Pending,
            JobStatus::Processing => Self::Running,
            JobStatus::Completed => Self::Completed,
            JobStatus::Failed | JobStatus::Deadletter | JobStatus::Cancelled => Self::Failed,
        }
    }
}

/// List the runs of a schedule, latest first.
///
/// A run is listed for as long as its job is kept; one that was missed, or whose job was refused, for as long as the schedule exists.
#[utoipa::path(
    get,
    path = "/api/v1/schedules/{id}/history",
    operation_id = "jobs.schedule.history",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(("id" = String, Path, description = "Id of the schedule"), JobsHistoryParams),
    responses(
        (status = 200, description = "The runs", body = Vec<JobsScheduleRun>),
        (status = 404, description = "No such schedule", body = JobsErrorBody),
    )
)]
pub(crate) async fn schedule_history(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    Path(id): Path<String>,
    LenientQuery(params, warnings): LenientQuery<JobsHistoryParams>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &id)?;
    let limit = params.limit.unwrap_or(USUAL_LIMIT).clamp(1, MAX_LIMIT);
    let query = ListRuns {
        team: caller.team.clone(),
        schedule: found.current.schedule.clone(),
        limit: u16::try_from(limit).unwrap_or(1),
        cursor: None,
    };
    let known = Position {
        control: state.auth.applied(),
        tasks: state.acknowledged.to(&caller.team),
    };
    let runs = state.queries.ask(query, known).await?.value.runs;
    let read: Vec<_> = futures::stream::iter(runs)
        .map(async |run| read(&state, &caller, run).await)
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    let shown: Vec<_> = read.into_iter().flatten().collect();
    Ok(Ignored::of(warnings).answer(StatusCode::OK, shown))
}

/// A run as it is shown; `None`: it was due in a pause, or its job has just ended being kept.
async fn read(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsRead>>,
    run: Run,
) -> Result<Option<JobsScheduleRun>, ApiError> {
    let (task, run, at) = match run {
        Run::Made { task, run, at, .. } => (task, run, at),
        Run::Not(settled) => return Ok(missed(&settled)),
    };
    let job = match jobs::row(state, caller, &task.uuid_text()).await {
        Ok(job) => job,
        Err(error) if error.status == StatusCode::NOT_FOUND => return Ok(None),
        Err(error) => return Err(error),
    };
    let row = job.row();
    let status = JobsRunStatus::from(job.status);
    let error = last_error(job.status, row);
    Ok(Some(JobsScheduleRun {
        id: run.run.to_string(),
        schedule_id: run.schedule.to_string(),
        job_id: Some(row.job_root().uuid_text()),
        status,
        job_status: Some(job.status.into()),
        error_message: error.filter(|_| status == JobsRunStatus::Failed),
        started_at: Iso(at),
        completed_at: row.completed_at.map(Iso),
    }))
}

fn missed(settled: &ScheduleSettled) -> Option<JobsScheduleRun> {
    if settled.outcome == Outcome::Paused {
        return None;
    }
    let why = settled.refused.clone().unwrap_or_else(|| {
        let count = settled.count;
        format!("Missed: nothing could run in time ({count} in a row)")
    });
    let run = RunId::due(&settled.schedule, settled.version, settled.from);
    Some(JobsScheduleRun {
        id: run.to_string(),
        schedule_id: settled.schedule.to_string(),
        job_id: None,
        status: JobsRunStatus::Failed,
        job_status: None,
        error_message: Some(why),
        started_at: Iso(settled.from),
        completed_at: Some(Iso(settled.at)),
    })
}
