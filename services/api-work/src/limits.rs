//! Limits that tasks of several queues share: a limit exists by its key being named, by a task or by a decision about it.
//!
//! One file per endpoint; [`object`] is a limit as clients see it.

pub mod get;
pub mod list;
pub mod object;
pub mod pause;
pub mod resume;
pub mod set;

use std::collections::BTreeMap;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::limits::LimitCommand;
use waybill_domain::access::team::{Limit, Team, TeamCommand};
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::id::LimitKey;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{Need, QueuesWrite};
use waybill_edge::error::ApiError;

use crate::tag::{Tagged, tagged};
use object::{LimitEnvelope, LimitObject, Standing};

/// A limit, with the tag of what was set for it.
type Answer = Tagged<LimitEnvelope>;

/// The routes about limits.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_limits))
        .routes(routes!(get::get_limit, set::set_limit))
        .routes(routes!(pause::pause_limit))
        .routes(routes!(resume::resume_limit))
}

/// What the caller's team has decided about a limit.
fn decided<N: Need>(state: &Edge, caller: &Caller<N>, key: &LimitKey) -> Option<Limit> {
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.limit(environment, key).cloned();
    let directory = state.auth.directory();
    directory.with_team(&caller.team.base(), of_team).flatten()
}

/// How limits stand now, as the owners of all partitions see it; all of the team, or one.
async fn standings<N: Need>(
    state: &Edge,
    caller: &Caller<N>,
    key: Option<&LimitKey>,
) -> Result<BTreeMap<LimitKey, Standing>, ApiError> {
    let request = OwnerRequest::ListLimits {
        team: caller.team.clone(),
        key: key.cloned(),
    };
    let mut standings: BTreeMap<LimitKey, Standing> = BTreeMap::new();
    for reply in state.owners.ask_all(&request).await? {
        if let OwnerReply::Limits(told) = reply {
            for one in told {
                standings.entry(one.key.clone()).or_default().add(&one);
            }
        }
    }
    Ok(standings)
}

fn answer(decided: Option<&Limit>, limit: LimitObject) -> Answer {
    let tag = decided.cloned().unwrap_or_default().tag();
    tagged(&tag, LimitEnvelope { limit })
}

/// Decides something about a limit, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the
/// same may have been answered 503.
async fn decide(
    state: &Edge,
    caller: &Caller<QueuesWrite>,
    key: LimitKey,
    command: LimitCommand,
) -> Result<Answer, ApiError> {
    let team = caller.team.base();
    let command = TeamCommand::Limit(command);
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let environment = caller.team.environment();
    let limit = after.state.limit(environment, &key);
    let object = LimitObject::new(&key, environment, limit, None, entropy::now());
    Ok(answer(limit, object))
}
