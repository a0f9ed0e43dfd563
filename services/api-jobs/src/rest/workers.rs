//! Workers: which have registered, and how they do.
//!
//! Nothing of a worker is stored: the owner of its home partition remembers what it said, and after that owner has changed, the worker is
//! known again with its next registration. A claim needs no registered worker.

pub mod deregister;
pub mod get;
pub mod heartbeat;
pub mod list;
pub mod object;
pub mod register;

use std::collections::BTreeMap;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_api_tasks::TasksApi;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_domain::worker::{Registered, Registration, WorkerName, WorkersRequest};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;
use waybill_edge::error::ApiError;
use waybill_edge::owners::no_owner;
use waybill_edge::workers::is_draining;

use crate::owner;

pub(crate) fn router() -> OpenApiRouter<TasksApi> {
    OpenApiRouter::new()
        .routes(routes!(list::list_workers))
        .routes(routes!(register::register_worker))
        .routes(routes!(get::get_worker))
        .routes(routes!(heartbeat::worker_heartbeat))
        .routes(routes!(deregister::deregister_worker))
}

/// A worker that has registered.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) registered: Registered,
    /// When it last gave a sign of life.
    pub(crate) seen: Option<Timestamp>,
    /// Jobs that it holds.
    pub(crate) held: u32,
    /// Whether somebody drains it.
    pub(crate) is_drained: bool,
}

pub(crate) fn no_such_worker() -> ApiError {
    ApiError::not_found("Worker not found")
}

/// The workers that have registered and that the caller may see, or one of them.
pub(crate) async fn known<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    only: Option<&WorkerName>,
) -> Result<Vec<Worker>, ApiError> {
    let request = OwnerRequest::Workers(WorkersRequest::Tell {
        team: caller.team.clone(),
        worker: only.cloned(),
    });
    let mut known: BTreeMap<String, (Option<Registered>, Option<Timestamp>, u32)> = BTreeMap::new();
    for reply in state.owners.ask_all(&request).await? {
        let OwnerReply::Workers(told) = reply else {
            continue;
        };
        for standing in told.workers {
            let of = known.entry(standing.name).or_default();
            of.0 = of.0.take().or(standing.registered);
            of.1 = of.1.max(standing.seen);
            of.2 += standing.held;
        }
    }
    let workers = known
        .into_iter()
        .filter_map(|(name, (registered, seen, held))| {
            let registered = registered.filter(|of| is_visible(caller, &of.registration))?;
            Some(Worker {
                is_drained: is_drained(state, caller, &name),
                name,
                registered,
                seen,
                held,
            })
        });
    Ok(workers.collect())
}

/// Whether one of the queues of a worker is one that the caller may use.
pub(crate) fn is_visible<N: Need>(caller: &Caller<N>, of: &Registration) -> bool {
    caller.only_queues().is_none() || of.queues.iter().any(|queue| caller.may_use(queue).is_ok())
}

/// Whether somebody drains the worker.
pub(crate) fn is_drained<N: Need>(state: &TasksApi, caller: &Caller<N>, name: &str) -> bool {
    WorkerName::parse(name).is_ok_and(|worker| is_draining(state, caller, &worker))
}

/// What a worker has said about itself, as its home knows it.
pub(crate) async fn registration<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    worker: &WorkerName,
) -> Result<Registration, ApiError> {
    let home = Partition::of_worker(&caller.team, worker.as_str(), state.owners.partitions);
    let request = OwnerRequest::Workers(WorkersRequest::Tell {
        team: caller.team.clone(),
        worker: Some(worker.clone()),
    });
    let OwnerReply::Workers(told) = owner::ask(state, home, &request).await? else {
        return Err(no_owner());
    };
    let mut registered = told.workers.into_iter().filter_map(|of| of.registered);
    let found = registered.next().map(|registered| registered.registration);
    found
        .filter(|of| !of.left && is_visible(caller, of))
        .ok_or_else(no_such_worker)
}
