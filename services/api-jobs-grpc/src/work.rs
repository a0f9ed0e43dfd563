//! What workers do, in a call of its own or within a stream: claims, and reports on what was claimed.

use std::time::Duration;

use tonic::Status;
use waybill_api_jobs::calls::{self, JobsClaim, JobsComplete, JobsFail, JobsHeartbeat};
use waybill_api_tasks::TasksApi;
use waybill_domain::task::pull::MAX_MESSAGE_CHARS;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};

use crate::convert::{self, json, lease_secs, said, time};
use crate::pb;
use crate::status::{of_report, status};

/// Jobs of one claim, at least and at most.
const BATCH: (i32, i32) = (1, 100);

/// Who works on jobs.
pub(crate) type Worker = Caller<InQueues<JobsWrite>>;

/// A claim, with the name of its worker.
pub(crate) fn claim_of(given: pb::DequeueRequest) -> Result<JobsClaim, Status> {
    let (least, most) = BATCH;
    Ok(JobsClaim {
        queue_name: given.queue_name,
        worker_id: worker(given.worker_id)?,
        limit: Some(given.batch_size.clamp(least, most).into()),
        lease_duration_secs: Some(lease_secs(given.lease_duration_secs)),
    })
}

/// Claims jobs, without waiting for any.
pub(crate) async fn dequeue(
    state: &TasksApi,
    caller: &Worker,
    given: pb::DequeueRequest,
) -> Result<Vec<pb::Job>, Status> {
    let claim = claim_of(given)?;
    let held = calls::claim(state, caller, &claim, Duration::ZERO).await;
    let held = held.map_err(|error| status(&error))?;
    let organization = caller.team.base_str();
    let jobs = held
        .iter()
        .map(|held| convert::held(held, organization, &claim.worker_id));
    Ok(jobs.collect())
}

pub(crate) async fn complete(
    state: &TasksApi,
    caller: &Worker,
    given: pb::CompleteRequest,
) -> Result<pb::CompleteResponse, Status> {
    let report = JobsComplete {
        worker_id: worker(given.worker_id)?,
        lease_id: lease(given.lease_id)?,
        result: given.result.map(json).transpose()?,
    };
    let done = calls::complete(state, caller, &given.job_id, report).await;
    done.map_err(|error| of_report(&error))?;
    Ok(pb::CompleteResponse { success: true })
}

pub(crate) async fn fail(
    state: &TasksApi,
    caller: &Worker,
    given: pb::FailRequest,
) -> Result<pb::FailResponse, Status> {
    let report = JobsFail {
        worker_id: worker(given.worker_id)?,
        lease_id: lease(given.lease_id)?,
        error: given.error.chars().take(MAX_MESSAGE_CHARS).collect(),
        no_retry: given.retry.map(|retries| !retries),
    };
    let failed = calls::fail(state, caller, &given.job_id, report).await;
    let failed = failed.map_err(|error| of_report(&error))?;
    let delay = failed.next_retry_delay_secs.unwrap_or_default();
    Ok(pb::FailResponse {
        success: true,
        will_retry: failed.will_retry,
        next_retry_delay_secs: i32::try_from(delay).unwrap_or(i32::MAX),
    })
}

pub(crate) async fn renew(
    state: &TasksApi,
    caller: &Worker,
    given: pb::RenewLeaseRequest,
) -> Result<pb::RenewLeaseResponse, Status> {
    let beat = JobsHeartbeat {
        worker_id: worker(given.worker_id)?,
        lease_id: lease(given.lease_id)?,
        lease_duration_secs: lease_secs(given.extension_secs),
    };
    let extended = calls::extend(state, caller, &given.job_id, &beat).await;
    let extended = extended.map_err(|error| of_report(&error))?;
    Ok(pb::RenewLeaseResponse {
        success: true,
        new_expires_at: Some(time(extended.lease_expires_at.0)),
    })
}

/// The name of a worker, which every claim and report has.
fn worker(given: String) -> Result<String, Status> {
    said(given).ok_or_else(|| Status::invalid_argument("Worker ID is required"))
}

fn lease(given: String) -> Result<String, Status> {
    said(given).ok_or_else(|| Status::invalid_argument("lease_id is required for job settlement"))
}
