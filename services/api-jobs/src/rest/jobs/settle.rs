//! How a report of a worker reaches the owner of its job, and why one changes nothing.

use waybill_api_tasks::TasksApi;
use waybill_domain::command::{OwnerReply, OwnerRequest, WorkerReport};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::ClaimId;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::owners::no_owner;

use super::claim::HeldJob;
use crate::{find, owner};

/// Who reports, and about what.
pub(super) struct Report<'a> {
    pub(super) job: &'a str,
    pub(super) worker: &'a str,
    /// The lease that the worker names.
    pub(super) lease: &'a str,
    pub(super) what: WorkerReport,
    /// What is said when that lease is over.
    pub(super) lost: &'static str,
}

/// What came of a report.
pub(super) enum Settled {
    /// It is stored at that position of TASKS. Whether the job may be tried again.
    Reported { seq: StreamSeq, retries: bool },
    /// The lease begins anew, and lasts so many milliseconds.
    Extended { lease_ms: u32 },
}

/// Reports about a claim, once.
pub(super) async fn settle(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    report: Report<'_>,
) -> Result<Settled, ApiError> {
    caller.needs_api()?;
    let claim = ClaimId::parse(report.lease).ok();
    let count = state.owners.partitions.get();
    let claim = claim.filter(|claim| claim.task.partition().get() < count);
    let claim = match claim {
        Some(claim) if find::uuid(report.job) == Some(claim.task.uuid()) => claim,
        // A job that was retried has the id of its first task.
        Some(claim) if is_of(state, caller, report.job, claim).await? => claim,
        _ => return Err(refusal(state, caller, &report, None).await?),
    };
    let request = OwnerRequest::Report {
        task: claim.task,
        attempt: claim.attempt,
        team: caller.team.clone(),
        what: report.what.clone(),
        actor: caller.actor(),
        only: caller.only_queues().unwrap_or_default().to_vec(),
        holder: Some(report.worker.to_owned()),
    };
    let told = |seq| state.acknowledge(&caller.context().position, &caller.team, seq);
    match owner::ask(state, claim.task.partition(), &request).await? {
        OwnerReply::Reported { seq, retries } => {
            told(seq);
            Ok(Settled::Reported { seq, retries })
        }
        OwnerReply::Extended { seq, lease_ms, .. } => {
            told(seq);
            Ok(Settled::Extended { lease_ms })
        }
        OwnerReply::LeaseLost | OwnerReply::NotOpen => {
            Err(refusal(state, caller, &report, Some(claim)).await?)
        }
        _ => Err(no_owner()),
    }
}

async fn is_of(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    job: &str,
    claim: ClaimId,
) -> Result<bool, ApiError> {
    match find::row(state, caller, job).await {
        Ok(found) => Ok(found.row().id == claim.task),
        Err(error) if error.status == http::StatusCode::NOT_FOUND => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a job back that its worker never got, which uses up no retry.
///
/// # Errors
/// If the worker does not hold it any more.
pub async fn release(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    worker: &str,
    held: &HeldJob,
) -> Result<(), ApiError> {
    let report = Report {
        job: &held.id(),
        worker,
        lease: &held.claim.to_string(),
        what: WorkerReport::Release,
        lost: "Job lease expired",
    };
    settle(state, caller, report).await?;
    Ok(())
}

/// The lease under which a job is held now, for a worker that does not name it.
pub(super) async fn current_lease(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    job: &str,
) -> Result<Option<ClaimId>, ApiError> {
    let end = state.end_of_tasks().await?;
    let found = find::as_of(state, caller, job, end).await;
    let found = found.map_err(not_owned)?;
    let last = found.row().attempts.last();
    Ok(last.map(|attempt| ClaimId {
        task: found.row().id,
        attempt: attempt.number,
    }))
}

fn not_owned(error: ApiError) -> ApiError {
    if error.status == http::StatusCode::NOT_FOUND {
        ApiError::not_found("Job not found or not owned by worker")
    } else {
        error
    }
}

/// Why a report changed nothing. `claim` is what it names, if that is a claim of the job.
async fn refusal(
    state: &TasksApi,
    caller: &Caller<InQueues<JobsWrite>>,
    report: &Report<'_>,
    claim: Option<ClaimId>,
) -> Result<ApiError, ApiError> {
    let end = state.end_of_tasks().await?;
    let found = match find::as_of(state, caller, report.job, end).await {
        Ok(found) => found,
        Err(error) => return Ok(not_owned(error)),
    };
    let row = found.row();
    let last = row.attempts.last();
    if last.and_then(|attempt| attempt.worker.as_deref()) != Some(report.worker) {
        return Ok(not_owned(find::no_such_job()));
    }
    if found.status.is_final() {
        let text = format!("Job is already {}", found.status.as_str());
        return Ok(ApiError::conflict(ErrorCode::Conflict, text));
    }
    let is_last = claim.is_some_and(|claim| {
        claim.task == row.id && last.is_some_and(|attempt| attempt.number == claim.attempt)
    });
    let text = if is_last {
        report.lost
    } else {
        "The lease_id does not match the job's current lease"
    };
    Ok(ApiError::conflict(ErrorCode::LeaseLost, text))
}
