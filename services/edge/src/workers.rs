//! Workers that pull, as all APIs for them have them: whether somebody drains one, and their signs of life.

use waybill_commands::entropy;
use waybill_domain::access::team::{Pause, Team};
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::partition::Partition;
use waybill_domain::worker::{Registration, WorkerName, WorkersRequest};

use crate::auth::Caller;
use crate::auth::needs::Need;
use crate::error::ApiError;
use crate::owners::no_owner;
use crate::state::Edge;

/// The drain of a worker that is in force, as this gateway knows it: claims ask without a network call.
pub fn drain_of<N: Need>(state: &Edge, caller: &Caller<N>, worker: &WorkerName) -> Option<Pause> {
    let (environment, now) = (caller.team.environment(), entropy::now());
    let of_team = |team: &Team| team.drain(environment, worker, now).cloned();
    let directory = state.auth.directory();
    directory.with_team(&caller.team.base(), of_team).flatten()
}

/// Whether somebody drains the worker.
pub fn is_draining<N: Need>(state: &Edge, caller: &Caller<N>, worker: &WorkerName) -> bool {
    drain_of(state, caller, worker).is_some()
}

/// Tells the home of a worker what it says about itself, which is a sign of life.
///
/// # Errors
/// 503 if its home has no owner that answers in time.
pub async fn beat<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    worker: &WorkerName,
    registration: Registration,
) -> Result<(), ApiError> {
    let home = Partition::of_worker(&caller.team, worker.as_str(), state.owners.partitions);
    let request = OwnerRequest::Workers(WorkersRequest::Beat {
        team: caller.team.clone(),
        worker: worker.clone(),
        registration,
    });
    match state.owners.ask_until_answered(home, &request).await? {
        Some(OwnerReply::Noted) => Ok(()),
        _ => Err(no_owner()),
    }
}
