//! Workers that pull: which there are, what they hold, and draining them.
//!
//! A worker exists by its name: it claims, and that is enough. Registering ([`register`]) adds what it says about itself. What is known of
//! workers beside that is told by the owners of all partitions ([`list`], [`get`]), and nothing of it is stored; a drain ([`drain`],
//! [`resume`]) is a decision of the team, and is.

pub mod deregister;
pub mod drain;
pub mod get;
pub mod list;
pub mod object;
pub mod register;
pub mod resume;

use std::collections::BTreeMap;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::workers::WorkerCommand;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::worker::{WorkerName, WorkersRequest};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{Need, QueuesWrite};
use waybill_edge::error::ApiError;

use object::{Known, WorkerEnvelope, WorkerObject};

/// The routes about workers.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_workers))
        .routes(routes!(
            get::get_worker,
            register::register_worker,
            deregister::deregister_worker
        ))
        .routes(routes!(drain::drain_worker))
        .routes(routes!(resume::resume_worker))
}

/// What the owners of all partitions know of the workers of the team, or of one; whether there are more.
async fn known<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    worker: Option<&WorkerName>,
) -> Result<(BTreeMap<String, Known>, bool), ApiError> {
    let request = OwnerRequest::Workers(WorkersRequest::Tell {
        team: caller.team.clone(),
        worker: worker.cloned(),
    });
    let (mut known, mut truncated): (BTreeMap<String, Known>, _) = (BTreeMap::new(), false);
    for reply in state.owners.ask_all(&request).await? {
        if let OwnerReply::Workers(told) = reply {
            truncated |= told.truncated;
            for standing in told.workers {
                known
                    .entry(standing.name.clone())
                    .or_default()
                    .add(standing);
            }
        }
    }
    Ok((known, truncated))
}

/// Decides something about a worker, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the
/// same may have been answered 503.
async fn decide(
    state: &Edge,
    caller: &Caller<QueuesWrite>,
    worker: &WorkerName,
    command: WorkerCommand,
) -> Result<axum::Json<WorkerEnvelope>, ApiError> {
    let team = caller.team.base();
    let command = TeamCommand::Worker(command);
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let (mut known, _) = known(state, caller, Some(worker)).await?;
    let known = known.remove(worker.as_str()).unwrap_or_default();
    let now = entropy::now();
    let environment = caller.team.environment();
    let drain = after.state.drain(environment, worker, now);
    Ok(axum::Json(WorkerEnvelope {
        worker: WorkerObject::new(worker.as_str(), known, drain, now),
        warnings: Vec::new(),
    }))
}
