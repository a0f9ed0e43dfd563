//! Targets: the hosts that tasks call, how they do, and when tasks are held back because one fails.
//!
//! One file per endpoint; [`object`] is a target as clients see it.

pub mod get;
pub mod list;
pub mod object;
pub mod set;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::access::team::Team;
use waybill_domain::command::{HostHealth, OwnerReply, OwnerRequest};
use waybill_domain::dispatcher::Compartment;
use waybill_domain::health::{HealthRule, TargetHost};
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::Need;

use object::{TargetHealth, TargetObject};

/// The routes about targets.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_targets))
        .routes(routes!(get::get_target_health, set::set_target_health))
}

/// The rules of the caller's team in its environment.
fn rules<N: Need>(state: &Edge, caller: &Caller<N>) -> Vec<(TargetHost, HealthRule)> {
    let environment = caller.team.environment();
    let of_team = |team: &Team| {
        let all = team.targets.iter();
        let mine = all.filter(|((of, _), _)| *of == environment);
        mine.map(|((_, host), rule)| (host.clone(), *rule))
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
    hosts: Vec<(TargetHost, Option<HealthRule>)>,
) -> Vec<TargetObject> {
    if hosts.is_empty() {
        return Vec::new();
    }
    let of = |(host, _): &(TargetHost, _)| Compartment::of(&caller.team, host);
    let request = OwnerRequest::Health {
        hosts: hosts.iter().map(of).collect(),
    };
    let replies = state.owners.ask_all(&request).await;
    let known = replies.into_iter().filter_map(|reply| match reply {
        OwnerReply::Health(told) if told.len() == hosts.len() => Some(told),
        _ => None,
    });
    let known: Vec<Vec<HostHealth>> = known.collect();
    let environment = caller.team.environment();
    let partitions = state.owners.count();
    let all = hosts.iter().enumerate().map(|(at, (host, rule))| {
        let told = known.iter().filter_map(|told| told.get(at));
        let health = TargetHealth::of(told, partitions);
        TargetObject::new(host, environment, *rule, health)
    });
    all.collect()
}
