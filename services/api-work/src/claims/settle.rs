//! How a report reaches the owner of the task, and what is answered where that has forgotten the task by then.

use waybill_domain::command::{OwnerReply, OwnerRequest, WorkerReport};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::history::settled;
use waybill_domain::task::{ClaimId, Settled};
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::owners::no_owner;
use waybill_edge::workers::is_draining;
use waybill_projector::query::{GetTask, Position};

use super::object::{ClaimOutcome, ReportedClaim};

/// Reports about a claim. The same report twice is answered alike.
pub(super) async fn settle(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    claim: ClaimId,
    what: WorkerReport,
) -> Result<ReportedClaim, ApiError> {
    let settles = what.settles();
    let partition = claim.task.partition();
    // An id that nobody gave out may name any partition.
    if partition.get() >= state.owners.partitions.get() {
        return Err(ApiError::not_found("Claim not found"));
    }
    let request = OwnerRequest::Report {
        task: claim.task,
        attempt: claim.attempt,
        team: caller.team.clone(),
        what,
        actor: caller.actor(),
        only: caller.only_queues().unwrap_or_default().to_vec(),
        holder: None,
    };
    match state.owners.ask_until_answered(partition, &request).await? {
        Some(OwnerReply::Reported { seq, retries }) => {
            tell(state, caller, seq);
            Ok(reported(claim, outcome(settles), retries, None))
        }
        Some(OwnerReply::Extended {
            seq,
            lease_ms,
            worker,
        }) => {
            tell(state, caller, seq);
            let lease = Some(f64::from(lease_ms) / 1000.0);
            let worker = worker.and_then(|name| WorkerName::parse(&name).ok());
            let draining = worker.is_some_and(|worker| is_draining(state, caller, &worker));
            Ok(ReportedClaim {
                draining,
                ..reported(claim, ClaimOutcome::Held, false, lease)
            })
        }
        Some(OwnerReply::LeaseLost) => Err(lease_lost()),
        Some(OwnerReply::NotOpen) => ended(state, caller, claim, settles).await,
        _ => Err(no_owner()),
    }
}

fn tell(state: &Edge, caller: &Caller<InQueues<JobsWrite>>, seq: StreamSeq) {
    state.acknowledge(&caller.context().position, &caller.team, seq);
}

/// The owner has no such open task: how it ended is in the log by now.
async fn ended(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    claim: ClaimId,
    settles: Option<Settled>,
) -> Result<ReportedClaim, ApiError> {
    let query = GetTask {
        id: claim.task,
        team: None,
        detail: false,
    };
    let end = state.end_of_tasks().await?;
    let view = state.queries.ask(query, Position::tasks(end)).await?.value;
    // A team cannot know of another team's claims.
    let row = view.map(|view| view.row);
    // Nor are those of queues that it is kept from.
    let row = row.filter(|row| row.team == caller.team && caller.may_use(&row.queue).is_ok());
    let Some(row) = row.filter(|row| row.attempts.iter().any(|of| of.number == claim.attempt))
    else {
        return Err(ApiError::not_found("Claim not found"));
    };
    if !row.status.is_terminal() {
        // It was created, and its owner has not read that yet.
        return Err(no_owner());
    }
    let before = settled(&row.attempts, claim.attempt);
    if settles.is_none() || before != settles {
        return Err(lease_lost());
    }
    let last = row.attempts.last().map_or(0, |attempt| attempt.number);
    let retries = last > claim.attempt;
    Ok(reported(claim, outcome(settles), retries, None))
}

fn lease_lost() -> ApiError {
    ApiError::conflict(
        ErrorCode::LeaseLost,
        "The worker does not hold this claim: its lease was over, it has ended otherwise, or the task was cancelled. Nothing was changed",
    )
}

fn outcome(settles: Option<Settled>) -> ClaimOutcome {
    match settles {
        None => ClaimOutcome::Held,
        Some(Settled::Completed) => ClaimOutcome::Completed,
        Some(Settled::Failed) => ClaimOutcome::Failed,
        Some(Settled::Released) => ClaimOutcome::Released,
    }
}

fn reported(
    claim: ClaimId,
    outcome: ClaimOutcome,
    will_retry: bool,
    lease_seconds: Option<f64>,
) -> ReportedClaim {
    ReportedClaim {
        id: claim.to_string(),
        task_id: claim.task.to_string(),
        outcome,
        will_retry,
        lease_seconds,
        draining: false,
    }
}
