//! `GET /api/v1/jobs/stats`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_api_tasks::TasksApi;
use waybill_domain::id::QueueName;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsRead, Need};
use waybill_edge::error::ApiError;
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_projector::query::{CountJobs, Position};

use crate::body::Ignored;
use crate::{permission, rules};

/// Which jobs are counted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsStatsParams {
    /// Only of this queue.
    queue_name: Option<String>,
}

impl HasLists for JobsStatsParams {}

/// Jobs by status, as far as they are kept.
#[derive(Debug, Serialize, ToSchema)]
#[expect(missing_docs, reason = "a field for each status")]
pub struct JobsStats {
    pub pending: u64,
    pub scheduled: u64,
    pub processing: u64,
    pub completed: u64,
    pub failed: u64,
    pub deadletter: u64,
    pub cancelled: u64,
    /// The sum.
    pub total: u64,
}

/// Count jobs by status.
#[utoipa::path(
    get,
    path = "/api/v1/jobs/stats",
    operation_id = "jobs.job.stats",
    tag = "jobs",
    security(("api_key" = ["jobs:read"])),
    params(JobsStatsParams),
    responses((status = 200, description = "The numbers", body = JobsStats))
)]
pub(crate) async fn job_stats(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsRead>>,
    LenientQuery(params, warnings): LenientQuery<JobsStatsParams>,
) -> Result<Response, ApiError> {
    let queue = params.queue_name.as_deref().filter(|name| !name.is_empty());
    let queue = queue
        .map(|name| rules::queue("queue_name", name))
        .transpose()?;
    if let Some(queue) = &queue {
        permission::named(&caller, queue)?;
    }
    let stats = count(&state, &caller, queue).await?;
    Ok(Ignored::of(warnings).answer(StatusCode::OK, stats))
}

/// Counts the jobs that the caller sees, of one queue or of all.
///
/// # Errors
/// If no projector answers.
pub async fn count<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    queue: Option<QueueName>,
) -> Result<JobsStats, ApiError> {
    let query = CountJobs {
        team: caller.team.clone(),
        queue,
        queues: caller.only_queues().unwrap_or_default().to_vec(),
    };
    let min_seq = state.acknowledged.to(&caller.team);
    let asked = state.queries.ask(query, Position::tasks(min_seq));
    let counts = asked.await?.value;
    Ok(JobsStats {
        pending: counts.of(JobStatus::Pending),
        scheduled: counts.of(JobStatus::Scheduled),
        processing: counts.of(JobStatus::Processing),
        completed: counts.of(JobStatus::Completed),
        failed: counts.of(JobStatus::Failed),
        deadletter: counts.of(JobStatus::Deadletter),
        cancelled: counts.of(JobStatus::Cancelled),
        total: counts.total(),
    })
}
