//! How a claim finds its tasks: it asks the owners of the partitions of its queues.
//!
//! Each owner is asked once at first, until there is enough. If none has anything, all of them are asked to wait, and the first that has a
//! task answers for all: from the others the claim is withdrawn, and what one of them was about to give goes back. An owner is asked anew
//! every few seconds while it waits, so that one that has died is not waited for; the number of the claim keeps its place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use waybill_commands::entropy;
use waybill_domain::actor::Actor;
use waybill_domain::command::{ClaimRequest, ClaimedTask, OwnerReply, OwnerRequest};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::task::ClaimId;
use waybill_domain::worker::WorkerName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::claims::requests_of;
use waybill_edge::error::ApiError;

use super::object::ClaimedWork;
use waybill_edge::workers::is_draining;

/// After this time without an answer an owner is asked anew, since it may have died.
const ASKED_ANEW: Duration = Duration::from_secs(5);
/// How long the answer of an owner may take beyond the wait.
const GRACE: Duration = Duration::from_secs(2);
/// Pause before an owner is asked again that could not answer.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a worker that drains waits for the answer to its claim, at most.
const DRAINING_PAUSE: Duration = Duration::from_secs(1);

/// A claim that was checked.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) queues: Vec<QueueName>,
    pub(super) max: u32,
    pub(super) wait: Duration,
    pub(super) lease: Duration,
    pub(super) worker: WorkerName,
}

/// What came of a claim.
pub(super) struct Given {
    pub(super) claims: Vec<ClaimedWork>,
    /// Somebody drains the worker.
    pub(super) draining: bool,
}

/// A claim under way. Dropped before its answer is known, as when its client goes away, it is withdrawn.
struct Claiming {
    state: Edge,
    team: TeamId,
    actor: Actor,
    wanted: Arc<Wanted>,
    ask: u64,
    /// The queues of each partition that was asked and may still hold something for the claim.
    asked: BTreeMap<Partition, Vec<QueueName>>,
}

/// Gives tasks to a worker.
pub(super) async fn give(
    state: &Edge,
    caller: &Caller<InQueues<JobsWrite>>,
    wanted: Wanted,
) -> Result<Given, ApiError> {
    let worker = wanted.worker.clone();
    let is_draining = || is_draining(state, caller, &worker);
    let nothing = || Given {
        claims: Vec::new(),
        draining: true,
    };
    if is_draining() {
        // A worker that does not look at it would claim again at once.
        tokio::time::sleep(wanted.wait.min(DRAINING_PAUSE)).await;
        return Ok(nothing());
    }
    let count = state.owners.partitions;
    let mut partitions: BTreeMap<Partition, Vec<QueueName>> = BTreeMap::new();
    for queue in &wanted.queues {
        let partition = Partition::of(&caller.team, queue, count);
        partitions.entry(partition).or_default().push(queue.clone());
    }
    let mut claiming = Claiming {
        state: state.clone(),
        team: caller.team.clone(),
        actor: caller.actor(),
        wanted: Arc::new(wanted),
        ask: u64::from_le_bytes(entropy::random()),
        asked: partitions.clone(),
    };
    let found = tokio::select! {
        found = claiming.find(&partitions) => Some(found?),
        () = until_changed(state, is_draining) => None,
    };
    // Whoever drains a worker is answered once every gateway knows of it: from then on nothing is given here either, and what an owner gave
    // meanwhile goes back.
    let Some(given) = found.filter(|_| !is_draining()) else {
        return Ok(nothing());
    };
    let claims = claiming.read(&given).await?;
    if let Some(last) = given.iter().map(|task| task.started).max() {
        state.acknowledge(&caller.context().position, &caller.team, last);
    }
    claiming.asked.clear();
    Ok(Given {
        claims,
        draining: false,
    })
}

/// Waits until what is known of teams has changed so that `is_so`.
async fn until_changed(state: &Edge, is_so: impl Fn() -> bool) {
    let mut applied = state.auth.applied_changes();
    while !is_so() {
        if applied.changed().await.is_err() {
            // The gateway stops, which ends the claim by itself.
            std::future::pending::<()>().await;
        }
    }
}

impl Claiming {
    async fn find(
        &mut self,
        partitions: &BTreeMap<Partition, Vec<QueueName>>,
    ) -> Result<Vec<ClaimedTask>, ApiError> {
        let deadline = Instant::now() + self.wanted.wait;
        let patience = self.state.config.patience();
        if let (1, Some((partition, queues))) = (partitions.len(), partitions.first_key_value()) {
            let until = (deadline, patience);
            return self.ask(*partition, queues, self.wanted.max, until).await;
        }
        let mut given: Vec<ClaimedTask> = Vec::new();
        let mut failed = None;
        let mut order: Vec<_> = partitions.iter().collect();
        // No partition comes always first.
        let first = usize::try_from(self.ask).unwrap_or(0) % order.len().max(1);
        order.rotate_left(first);
        for (partition, queues) in order {
            let has = u32::try_from(given.len()).unwrap_or(u32::MAX);
            let max = self.wanted.max.saturating_sub(has);
            if max == 0 {
                break;
            }
            // One without an owner keeps nobody from the others.
            let until = (Instant::now(), Duration::ZERO);
            match self.ask(*partition, queues, max, until).await {
                Ok(tasks) => given.extend(tasks),
                Err(error) => failed = Some(error),
            }
        }
        if !given.is_empty() {
            return Ok(given);
        }
        if self.wanted.wait.is_zero() {
            return failed.map_or(Ok(given), Err);
        }
        let mut waiting: FuturesUnordered<_> = partitions
            .iter()
            .map(|(partition, queues)| async {
                let until = (deadline, patience);
                let found = self.ask(*partition, queues, self.wanted.max, until);
                (*partition, found.await)
            })
            .collect();
        let (mut found, mut failed) = (None, None);
        while let Some((partition, tasks)) = waiting.next().await {
            match tasks {
                Ok(tasks) if !tasks.is_empty() => {
                    found = Some((partition, tasks));
                    break;
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        drop(waiting);
        let Some((partition, tasks)) = found else {
            return failed.map_or(Ok(Vec::new()), Err);
        };
        let own = self.asked.remove(&partition);
        self.withdraw();
        self.asked = own.map(|queues| (partition, queues)).into_iter().collect();
        Ok(tasks)
    }

    /// Asks one owner until it has answered, for as long as the claim waits; where there is none, also
    /// for as long as there is patience.
    async fn ask(
        &self,
        partition: Partition,
        queues: &[QueueName],
        max: u32,
        (deadline, patience): (Instant, Duration),
    ) -> Result<Vec<ClaimedTask>, ApiError> {
        let mut is_repeated = false;
        let begun = Instant::now();
        let (patience, wait) = (begun + patience, deadline.saturating_duration_since(begun));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = answered_within(left);
            let asked_at = Instant::now();
            let request = OwnerRequest::Claim(ClaimRequest {
                team: self.team.clone(),
                queues: queues.to_vec(),
                max,
                wait_ms: millis(left),
                lease_ms: millis(self.wanted.lease),
                worker: self.wanted.worker.to_string(),
                ask: self.ask,
                is_repeated,
                actor: self.actor.clone(),
            });
            let asked = self.state.owners.ask_one(partition, &request, timeout);
            let reply = tokio::select! {
                reply = asked => reply?,
                // The gateway stops: its clients are sent to others.
                () = self.state.stopping.cancelled() => return Ok(Vec::new()),
            };
            let now = Instant::now();
            match reply {
                Some(OwnerReply::Claimed(tasks)) if !tasks.is_empty() || now >= deadline => {
                    return Ok(tasks);
                }
                Some(OwnerReply::Claimed(_)) => {}
                // There is an owner, which is storing what it gives, say.
                Some(OwnerReply::TryAgain)
                    if now + PAUSE < deadline.max(patience) + wait.min(GRACE) =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                _ if now + PAUSE >= deadline.max(patience) => {
                    return Err(waybill_edge::owners::no_owner());
                }
                None if now >= asked_at + timeout => {}
                _ => tokio::time::sleep(PAUSE).await,
            }
            is_repeated = true;
        }
    }

    /// The tasks with what their workers need, as accepted.
    async fn read(&self, given: &[ClaimedTask]) -> Result<Vec<ClaimedWork>, ApiError> {
        let requests = requests_of(&self.state, given).await?;
        let claims = given.iter().zip(requests).map(|(task, created)| {
            let claim = ClaimId {
                task: task.task,
                attempt: task.attempt,
            };
            ClaimedWork::new(claim, task.lease_ms, created)
        });
        Ok(claims.collect())
    }

    /// Tells the owners that nobody waits any more.
    fn withdraw(&mut self) {
        for (partition, queues) in std::mem::take(&mut self.asked) {
            let request = OwnerRequest::WithdrawClaim {
                team: self.team.clone(),
                queues,
                ask: self.ask,
            };
            let state = self.state.clone();
            self.state.tasks.spawn(async move {
                // Without an answer, what was given runs out with its lease.
                let _ = state.owners.ask_one(partition, &request, GRACE).await;
            });
        }
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// How long the answer of an owner is waited for that is asked to wait for `left`. If that is the rest of the claim's wait, the answer comes when
/// it is over, and takes a moment more.
fn answered_within(left: Duration) -> Duration {
    if left > ASKED_ANEW {
        ASKED_ANEW
    } else {
        left + GRACE
    }
}

fn millis(length: Duration) -> u32 {
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_is_asked_to_wait_until_the_end_has_time_to_answer() {
        for wait in (0..=30_000).map(Duration::from_millis) {
            let mut left = wait;
            while left > ASKED_ANEW {
                assert_eq!(answered_within(left), ASKED_ANEW, "it is asked anew");
                left -= ASKED_ANEW;
            }
            assert_eq!(answered_within(left), left + GRACE, "a claim of {wait:?}");
        }
    }
}
