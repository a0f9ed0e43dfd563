//! `POST /api/v1/jobs/claim`: jobs of a queue for a worker.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::command::{ClaimRequest, ClaimedTask, OwnerReply, OwnerRequest};
use waybill_domain::event::TaskCreated;
use waybill_domain::id::TaskId;
use waybill_domain::partition::Partition;
use waybill_domain::task::ClaimId;
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::claims::requests_of;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_edge::owners::no_owner;
use waybill_edge::workers::is_draining;

use super::heartbeat::{LEASES, lease_ms};
use crate::body::Body;
use crate::models::job::{USUAL_TIMEOUT_S, json};
use crate::{permission, rules};

/// Seconds of the lease of a claim that names none.
const USUAL_LEASE: i64 = 30;
/// Deadline of one request to the owner.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What a worker asks for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsClaim {
    pub queue_name: String,
    /// The name of the worker, 1 to 100 characters. It need not be registered.
    #[schema(min_length = 1, max_length = 100)]
    pub worker_id: String,
    /// How many jobs at most.
    #[schema(default = 1, minimum = 1, maximum = 100)]
    pub limit: Option<i64>,
    /// For how many seconds the worker holds them without a heartbeat.
    #[schema(default = 30, minimum = 5, maximum = 3600)]
    pub lease_duration_secs: Option<i64>,
}

/// The jobs that the worker holds from now on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsClaimed {
    /// None if there was nothing to do, or the queue is paused.
    pub jobs: Vec<JobsClaimedJob>,
}

/// A job that a worker holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsClaimedJob {
    pub id: String,
    pub queue_name: String,
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// Attempts before this one.
    pub retry_count: u32,
    pub max_retries: u16,
    pub timeout_seconds: u32,
    #[schema(value_type = String, format = DateTime)]
    pub lease_expires_at: Iso,
    /// Names the lease in reports: each claim gives another one.
    pub lease_id: String,
}

/// Claim jobs of a queue.
///
/// Those with the highest priority come first, then the oldest. Nothing is waited for.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/claim",
    operation_id = "jobs.job.claim",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsClaim,
    responses((status = 200, description = "The jobs; none if there was nothing to do", body = JobsClaimed))
)]
pub(crate) async fn claim_jobs(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Body(request, ignored): Body<JobsClaim>,
) -> Result<Response, ApiError> {
    let jobs = claim(&state, &caller, &request, Duration::ZERO).await?;
    let jobs = jobs.iter().map(JobsClaimedJob::new).collect();
    Ok(ignored.answer(StatusCode::OK, JobsClaimed { jobs }))
}

/// A job that a worker holds from now on.
#[derive(Debug)]
pub struct HeldJob {
    /// What was asked for.
    pub created: TaskCreated,
    /// The lease.
    pub claim: ClaimId,
    /// When that is over.
    pub ends: Timestamp,
}

/// Claims jobs of a queue. If there are none, the first is waited for as long as `wait` says.
///
/// # Errors
/// If a value breaks a rule, the queue is not the caller's, or its partition has no owner.
pub async fn claim(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    request: &JobsClaim,
    wait: Duration,
) -> Result<Vec<HeldJob>, ApiError> {
    caller.needs_api()?;
    let queue = rules::queue("queue_name", &request.queue_name)?;
    let worker = rules::worker(&request.worker_id)?;
    let limit = rules::whole("limit", request.limit, (1, 100))?.unwrap_or(1);
    let lease = rules::whole("lease_duration_secs", request.lease_duration_secs, LEASES)?;
    permission::named(caller, &queue)?;
    // Whom somebody drains gets nothing.
    if is_draining(state, caller, &worker) {
        return Ok(Vec::new());
    }
    let claim = ClaimRequest {
        team: caller.team.clone(),
        queues: vec![queue.clone()],
        max: u32::try_from(limit).unwrap_or(1),
        wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        lease_ms: lease_ms(lease.unwrap_or(USUAL_LEASE)),
        worker: worker.to_string(),
        ask: u64::from_le_bytes(entropy::random()),
        is_repeated: false,
        actor: caller.actor(),
    };
    let partition = Partition::of(&caller.team, &queue, state.owners.partitions);
    let mut waiting = Waiting::new(state, partition, &claim);
    let given = give(state, partition, claim).await?;
    waiting.ask = None;
    let last = given.iter().map(|task| task.started).max();
    if let Some(last) = last {
        state.acknowledge(&caller.context().position, &caller.team, last);
    }
    let now = entropy::now();
    let requests = requests_of(state, &given).await?;
    let jobs = given.iter().zip(requests).map(|(task, created)| HeldJob {
        created,
        claim: ClaimId {
            task: task.task,
            attempt: task.attempt,
        },
        ends: now.plus(Duration::from_millis(task.lease_ms.into())),
    });
    Ok(jobs.collect())
}

/// A claim whose answer is waited for. Dropped before it is known, as when its client goes away, the claim is withdrawn.
struct Waiting<'a> {
    state: &'a TasksApi,
    partition: Partition,
    /// `None` once the answer is known, or if nothing is waited for: then it is known within moments.
    ask: Option<OwnerRequest>,
}

impl<'a> Waiting<'a> {
    fn new(state: &'a TasksApi, partition: Partition, claim: &ClaimRequest) -> Self {
        let withdrawal = OwnerRequest::WithdrawClaim {
            team: claim.team.clone(),
            queues: claim.queues.clone(),
            ask: claim.ask,
        };
        Self {
            state,
            partition,
            ask: Some(withdrawal).filter(|_| claim.wait_ms > 0),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.ask.take() {
            let (state, partition) = (self.state.clone(), self.partition);
            self.state.tasks.spawn(async move {
                // Without an answer, what was given runs out with its lease.
                let asked = state
                    .owners
                    .ask_one(partition, &withdrawal, REQUEST_TIMEOUT);
                let _ = asked.await;
            });
        }
    }
}

/// Asks the owner of the queue until it has answered. The number of the claim makes a repeated one the same.
async fn give(
    state: &TasksApi,
    partition: Partition,
    mut claim: ClaimRequest,
) -> Result<Vec<ClaimedTask>, ApiError> {
    let wait = Duration::from_millis(claim.wait_ms.into());
    let deadline = Instant::now() + wait + state.config.patience();
    loop {
        let request = OwnerRequest::Claim(claim.clone());
        let timeout = wait + REQUEST_TIMEOUT;
        let asked = state.owners.ask_one(partition, &request, timeout);
        if let Some(OwnerReply::Claimed(tasks)) = asked.await? {
            return Ok(tasks);
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(no_owner());
        }
        claim.is_repeated = true;
        tokio::time::sleep(PAUSE).await;
    }
}

impl HeldJob {
    /// The id of the job, which its retries keep.
    #[must_use]
    pub fn id(&self) -> String {
        let root = self.created.job.as_deref().and_then(|job| job.root);
        root.unwrap_or(self.claim.task).uuid_text()
    }

    /// Attempts before this one.
    #[must_use]
    pub fn retry_count(&self) -> u32 {
        self.claim.attempt.saturating_sub(1)
    }

    /// When it was created, which a retry does not change.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        let root = self.created.job.as_deref().and_then(|job| job.root);
        root.map_or(self.created.at, TaskId::made_at)
    }

    /// Seconds that its worker should take at most.
    #[must_use]
    pub fn timeout_seconds(&self) -> u32 {
        let job = self.created.job.as_deref();
        job.and_then(|job| job.timeout_s).unwrap_or(USUAL_TIMEOUT_S)
    }

    /// The payload as JSON.
    #[must_use]
    pub fn payload(&self) -> Box<RawValue> {
        json(
            self.created.body.as_deref().unwrap_or("null"),
            self.created.body_encoding,
        )
    }
}

impl JobsClaimedJob {
    fn new(held: &HeldJob) -> Self {
        Self {
            id: held.id(),
            queue_name: held.created.queue.to_string(),
            retry_count: held.retry_count(),
            max_retries: held.created.max_retries,
            timeout_seconds: held.timeout_seconds(),
            lease_expires_at: Iso(held.ends),
            lease_id: held.claim.to_string(),
            payload: held.payload(),
        }
    }
}
