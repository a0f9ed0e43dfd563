//! `GET /api/v1/queues`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::access::team::{Queue, Team};
use waybill_domain::id::QueueName;
use waybill_domain::rate::StartRate;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesRead};
use waybill_edge::error::ApiError;

use crate::body::Ignored;
use crate::models::job::USUAL_TIMEOUT_S;

/// Retries of a job whose client and queue say nothing.
pub const USUAL_RETRIES: u16 = 3;
/// Milliseconds of the time that rates are told for.
const MINUTE_MS: u64 = 60_000;

/// A queue in a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsQueueSummary {
    pub queue_name: String,
    /// Retries of a job that does not say.
    pub max_retries: u16,
    /// `timeout_seconds` of a job that does not say.
    pub default_timeout: u32,
    /// Most claims a minute.
    pub rate_limit: Option<u64>,
    /// Whether it is not paused.
    pub enabled: bool,
}

/// List the queues that have tasks, are paused, have settings or get jobs of a schedule.
#[utoipa::path(
    get,
    path = "/api/v1/queues",
    operation_id = "jobs.queue.list",
    tag = "jobs",
    security(("api_key" = ["queues:read"])),
    responses((status = 200, description = "The queues, by name", body = Vec<JobsQueueSummary>))
)]
pub(crate) async fn list_queues(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesRead>>,
) -> Result<Response, ApiError> {
    let (environment, now) = (caller.team.environment(), entropy::now());
    let of_team = |team: &Team| -> Vec<(QueueName, Queue)> {
        let queues = team.queues_in(environment);
        queues
            .map(|(name, queue)| (name.clone(), queue.clone()))
            .collect()
    };
    let directory = state.auth.directory();
    let decided = directory.with_team(&caller.team.base(), of_team);
    let min_seq = state.acknowledged.to(&caller.team);
    let counters = state.queries.counters(&caller.team, min_seq).await?.value;
    let mut queues: BTreeMap<QueueName, Option<Queue>> = counters
        .queues
        .into_iter()
        .map(|counts| (counts.queue, None))
        .collect();
    for (name, queue) in decided.unwrap_or_default() {
        let matters = queue.paused(now).is_some() || queue.has_settings();
        if matters || queues.contains_key(&name) {
            queues.insert(name, Some(queue));
        }
    }
    for schedule in directory.schedules_of(&caller.team) {
        let job = schedule.current().and_then(|current| current.job.as_ref());
        if let Some(job) = job.filter(|_| schedule.paused(now).is_none()) {
            queues.entry(job.queue.clone()).or_default();
        }
    }
    queues.retain(|name, _| caller.may_use(name).is_ok());
    let shown: Vec<_> = queues
        .iter()
        .map(|(name, queue)| JobsQueueSummary::new(name, queue.as_ref(), now))
        .collect();
    Ok(Ignored::default().answer(StatusCode::OK, shown))
}

impl JobsQueueSummary {
    pub(super) fn new(name: &QueueName, queue: Option<&Queue>, now: Timestamp) -> Self {
        let retries = queue.and_then(|queue| queue.defaults.max_retries);
        let timeout = queue.and_then(|queue| queue.defaults.job_timeout_s);
        let rate = queue.and_then(|queue| queue.rate);
        Self {
            queue_name: name.to_string(),
            max_retries: retries.unwrap_or(USUAL_RETRIES),
            default_timeout: timeout.unwrap_or(USUAL_TIMEOUT_S),
            rate_limit: rate.map(per_minute),
            enabled: queue.is_none_or(|queue| queue.paused(now).is_none()),
        }
    }
}

/// A rate as starts in a minute, at least one.
fn per_minute(rate: StartRate) -> u64 {
    let starts = u64::from(rate.limit) * MINUTE_MS / u64::from(rate.per_ms).max(1);
    starts.max(1)
}
