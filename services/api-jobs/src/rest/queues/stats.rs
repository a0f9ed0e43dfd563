//! `GET /api/v1/queues/{name}/stats`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::task::JobStatus;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, Need, QueuesRead};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_projector::query::{CountJobs, GetStats, Position};

use super::find;
use crate::body::Ignored;
use crate::rest::jobs::stats::{JobsStats, count};
use crate::rest::workers::known;
use crate::rest::workers::object::{JobsWorkerStatus, status};
use crate::{permission, rules};

const DAY_MS: u64 = 86_400_000;
/// Finest step that a day is told in.
const STEP_MS: u64 = 300_000;

/// How a queue does.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsQueueStats {
    pub queue_name: String,
    pub pending_jobs: u64,
    pub processing_jobs: u64,
    /// Within the last 24 hours.
    pub completed_jobs_24h: u64,
    /// Failed for good within the last 24 hours.
    pub failed_jobs_24h: u64,
    /// Not measured: `null`.
    pub avg_processing_time_ms: Option<f64>,
    /// How long the oldest pending one waits.
    pub max_job_age_seconds: Option<u64>,
    /// Registered workers of the queue that are not offline.
    pub active_workers: usize,
}

/// Tell how a queue does.
#[utoipa::path(
    get,
    path = "/api/v1/queues/{name}/stats",
    operation_id = "jobs.queue.stats",
    tag = "jobs",
    security(("api_key" = ["queues:read"])),
    params(("name" = String, Path, description = "Name of the queue")),
    responses(
        (status = 200, description = "The figures", body = JobsQueueStats),
        (status = 404, description = "No such queue", body = JobsErrorBody),
    )
)]
pub(crate) async fn queue_stats(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesRead>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &name).await?;
    let queue = found.name;
    let at = Position::tasks(state.acknowledged.to(&caller.team));
    let counts = CountJobs {
        team: caller.team.clone(),
        queue: Some(queue.clone()),
        queues: Vec::new(),
    };
    let counts = state.queries.ask(counts, at).await?.value;
    let lately = GetStats {
        team: caller.team.clone(),
        window_ms: DAY_MS,
        step_ms: STEP_MS,
        queues: vec![queue.clone()],
    };
    let lately = state.queries.ask(lately, at).await?.value;
    let mut of_queue = lately.queues.into_iter().filter(|(of, _)| *of == queue);
    let figures = of_queue.next().map(|(_, series)| series.sum);
    let [completed, failed, timeout, _] = figures.map_or([0; 4], |figures| figures.ended);
    let now = entropy::now();
    let waits = found.counts.and_then(|counts| counts.waiting_since);
    let workers = known(&state, &caller, None).await?;
    let active = workers.iter().filter(|worker| {
        worker.registered.registration.queues.contains(&queue)
            && status(worker, now) != JobsWorkerStatus::Offline
    });
    let stats = JobsQueueStats {
        queue_name: queue.to_string(),
        pending_jobs: counts.of(JobStatus::Pending),
        processing_jobs: counts.of(JobStatus::Processing),
        completed_jobs_24h: completed,
        failed_jobs_24h: failed + timeout,
        avg_processing_time_ms: None,
        max_job_age_seconds: waits.map(|since| now.since(since).as_secs()),
        active_workers: active.count(),
    };
    Ok(Ignored::default().answer(StatusCode::OK, stats))
}

/// Counts the jobs of a queue by status, none if it does not exist; and says since when its oldest pending one waits.
///
/// # Errors
/// If the name breaks a rule, the queue is not the caller's, or no projector answers.
pub async fn count_queue<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    name: &str,
) -> Result<(JobsStats, Option<Timestamp>), ApiError> {
    let queue = rules::queue("queue_name", name)?;
    permission::named(caller, &queue)?;
    let min_seq = state.acknowledged.to(&caller.team);
    let counters = state.queries.queue_counters(&caller.team, &queue, min_seq);
    let waits = counters.await?.and_then(|counts| counts.waiting_since);
    Ok((count(state, caller, Some(queue)).await?, waits))
}
