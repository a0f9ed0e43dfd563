//! Targets: the hosts that tasks call, how they do, and when tasks are held back because one fails.
//!
//! One file per endpoint; [`object`] is a target as clients see it.

pub mod close;
pub mod get;
pub mod list;
pub mod object;
pub mod open;
pub mod set;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::targets::{Target, TargetCommand};
use waybill_domain::access::team::{Team, TeamCommand};
use waybill_domain::command::{HostHealth, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::Compartment;
use waybill_domain::health::TargetHost;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{Need, QueuesWrite};
use waybill_edge::error::ApiError;

use object::{TargetEnvelope, TargetHealth, TargetObject};

/// The routes about targets.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_targets))
        .routes(routes!(get::get_target_health, set::set_target_health))
        .routes(routes!(open::open_target))
        .routes(routes!(close::close_target))
}

/// Decides something about a host, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the
/// same may have been answered 503.
async fn decide(
    state: &Edge,
    caller: &Caller<QueuesWrite>,
    host: TargetHost,
    command: TargetCommand,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let (team, command) = (caller.team.base(), TeamCommand::Target(command));
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let target = after.state.target(caller.team.environment(), &host);
    let target = target.cloned().unwrap_or_default();
    one(state, caller, host, target).await
}

/// One host with what all partitions know about it.
async fn one<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    host: TargetHost,
    target: Target,
) -> Result<axum::Json<TargetEnvelope>, ApiError> {
    let told = told(state, caller, vec![(host, target)]).await;
    let target = told.into_iter().next();
    let target = target.ok_or_else(|| ApiError::internal(&"a host that was asked about"))?;
    Ok(axum::Json(TargetEnvelope { target }))
}

/// What the caller's team has decided in its environment.
fn rules<N: Need>(state: &Edge, caller: &Caller<N>) -> Vec<(TargetHost, Target)> {
    let environment = caller.team.environment();
    let of_team = |team: &Team| {
        let all = team.targets.iter();
        let mine = all.filter(|((of, _), _)| *of == environment);
        mine.map(|((_, host), target)| (host.clone(), target.clone()))
            .collect()
    };
    let directory = state.auth.directory();
    directory
        .with_team(&caller.team.base(), of_team)
        .unwrap_or_default()
}

/// Hosts with what all partitions know about them.
async fn told<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    hosts: Vec<(TargetHost, Target)>,
) -> Vec<TargetObject> {
    if hosts.is_empty() {
        return Vec::new();
    }
    let of = |(host, _): &(TargetHost, _)| Compartment::of(&caller.team, host);
    let request = OwnerRequest::Health {
        hosts: hosts.iter().map(of).collect(),
    };
    let replies = state.owners.ask_any(&request).await;
    let known = replies.into_iter().filter_map(|reply| match reply {
        OwnerReply::Health(told) if told.len() == hosts.len() => Some(told),
        _ => None,
    });
    let known: Vec<Vec<HostHealth>> = known.collect();
    let environment = caller.team.environment();
    let partitions = state.owners.count();
    let now = entropy::now();
    let all = hosts.iter().enumerate().map(|(at, (host, target))| {
        let told = known.iter().filter_map(|told| told.get(at));
        let health = TargetHealth::of(told, partitions);
        TargetObject::new(host, environment, (target, now), health)
    });
    all.collect()
}
