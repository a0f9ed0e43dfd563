//! How a report reaches the owner of the task, and what is answered where that has forgotten the task by then.

use std::collections::BTreeMap;

use futures::future::join_all;
use waybill_domain::command::{OwnerReply, OwnerRequest, WorkerReport};
use waybill_domain::id::QueueName;
use waybill_domain::partition::Partition;
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

/// Bytes of reports that are sent to an owner in one message, besides the first of them: the server lets through a megabyte.
const MOST_BYTES: usize = 256 * 1024;

/// Bytes of a report besides what the worker says and the names of queues: ids, the actor, and the names of all members.
const OTHER_BYTES: usize = 512;

/// A report that can be sent.
pub(super) struct Sent {
    claim: ClaimId,
    settles: Option<Settled>,
    bytes: usize,
    request: OwnerRequest,
}

impl Sent {
    /// A report about a claim.
    ///
    /// # Errors
    /// 404 if no partition can have such a claim.
    pub(super) fn new(
        state: &Edge,
        caller: &Caller<InQueues<JobsWrite>>,
        claim: ClaimId,
        what: WorkerReport,
    ) -> Result<Self, ApiError> {
        // An id that nobody gave out may name any partition.
        if claim.task.partition().get() >= state.owners.partitions.get() {
            return Err(ApiError::not_found("Claim not found"));
        }
        let only = caller.only_queues().unwrap_or_default();
        Ok(Self {
            claim,
            settles: what.settles(),
            bytes: bytes(&what, only),
            request: OwnerRequest::Report {
                task: claim.task,
                attempt: claim.attempt,
                team: caller.team.clone(),
                what,
                actor: caller.actor(),
                only: only.to_vec(),
                holder: None,
            },
        })
    }
}

/// About how many bytes a report takes in a message. Each names the queues that the caller is limited to.
fn bytes(what: &WorkerReport, only: &[QueueName]) -> usize {
    let said = match what {
        WorkerReport::Complete { result } => result.body.len(),
        WorkerReport::Fail { message, .. } => message.len(),
        WorkerReport::Progress { message, .. } => message.as_ref().map_or(0, String::len),
        WorkerReport::Release => 0,
    };
    let names = only.iter().map(|queue| queue.as_str().len() + 2);
    OTHER_BYTES + said + names.sum::<usize>()
}

/// Reports about a claim. The same report twice is answered alike.
pub(super) async fn settle(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    claim: ClaimId,
    what: WorkerReport,
) -> Result<ReportedClaim, ApiError> {
    let sent = Sent::new(state, caller, claim, what)?;
    let asked = state
        .owners
        .ask_until_answered(claim.task.partition(), &sent.request);
    let told = asked.await;
    answer(state, caller, (claim, sent.settles), told).await
}

/// Reports about many claims: each owner gets those of its partition together. The answers are in the order of the reports.
pub(super) async fn settle_many(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    reports: Vec<Result<Sent, ApiError>>,
) -> Vec<Result<ReportedClaim, ApiError>> {
    let mut answers = Vec::new();
    let mut partitions: BTreeMap<Partition, Vec<(usize, Sent)>> = BTreeMap::new();
    for (at, report) in reports.into_iter().enumerate() {
        match report {
            Ok(sent) => {
                let partition = sent.claim.task.partition();
                partitions.entry(partition).or_default().push((at, sent));
            }
            Err(error) => answers.push((at, Err(error))),
        }
    }
    let messages = partitions.into_iter().flat_map(|(partition, sent)| {
        let messages = split(sent, |(_, sent)| sent.bytes).into_iter();
        messages.map(move |message| (partition, message))
    });
    let told = join_all(messages.map(async |(partition, message)| {
        let about = message
            .iter()
            .map(|(at, sent)| (*at, sent.claim, sent.settles));
        let about: Vec<_> = about.collect();
        let requests = message.into_iter().map(|(_, sent)| sent.request).collect();
        let told = state.owners.ask_several(partition, requests).await;
        let told = about.into_iter().zip(told);
        join_all(told.map(async |((at, claim, settles), told)| {
            (at, answer(state, caller, (claim, settles), told).await)
        }))
        .await
    }));
    answers.extend(told.await.into_iter().flatten());
    answers.sort_unstable_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// In order, each part with no more than [`MOST_BYTES`] besides its first.
fn split<T>(all: Vec<T>, bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for one in all {
        let needs = bytes(&one);
        match parts.last_mut() {
            Some(part) if needs <= room => {
                room -= needs;
                part.push(one);
            }
            _ => {
                room = MOST_BYTES;
                parts.push(vec![one]);
            }
        }
    }
    parts
}

/// What is answered to a report, by what the owner said.
async fn answer(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    (claim, settles): (ClaimId, Option<Settled>),
    told: Result<Option<OwnerReply>, ApiError>,
) -> Result<ReportedClaim, ApiError> {
    match told? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_reports_go_in_messages_of_their_own_and_keep_their_order() {
        let sizes = [0, 1, MOST_BYTES, 0, MOST_BYTES + 1, MOST_BYTES - 1, 1, 1];
        let parts = split(sizes.to_vec(), |size| *size);
        for part in &parts {
            assert!(part[1..].iter().sum::<usize>() <= MOST_BYTES, "{part:?}");
        }
        assert_eq!(parts.concat(), sizes);
        assert_eq!(split(vec![1; 100], |size| *size).len(), 1);
        assert!(split(Vec::<usize>::new(), |size| *size).is_empty());
    }
}
