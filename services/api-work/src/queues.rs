//! Queues: a queue exists by being named, by a task or by a decision about it.
//!
//! One file per endpoint; [`object`] is a queue as clients see it.

pub mod defaults;
pub mod drain;
pub mod get;
pub mod limit;
pub mod list;
pub mod object;
pub mod pause;
pub mod resume;
pub mod statistics;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_commands::entropy;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_domain::access::team::{Queue, Team, TeamCommand};
use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::seq::StreamSeq;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{Need, QueuesWrite};
use waybill_edge::error::ApiError;

use crate::tag::{Tagged, tagged};
use object::{QueueEnvelope, QueueObject};

/// A queue, with the tag of its settings.
type Answer = Tagged<QueueEnvelope>;

fn answer(queue: Option<&Queue>, envelope: QueueEnvelope) -> Answer {
    tagged(&Queue::tag(queue), envelope)
}

/// The routes about queues.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(list::list_queues))
        .routes(routes!(get::get_queue, limit::limit_queue))
        .routes(routes!(pause::pause_queue))
        .routes(routes!(resume::resume_queue))
        .routes(routes!(drain::drain_queue))
}

/// What the caller's team has decided about a queue.
fn decided<N: Need>(state: &Edge, caller: &Caller<N>, name: &QueueName) -> Option<Queue> {
    let environment = caller.team.environment();
    let of_team = |team: &Team| team.queue(environment, name).cloned();
    let directory = state.auth.directory();
    directory.with_team(&caller.team.base(), of_team).flatten()
}

/// How far a read must have come: of a queue that drains as far as the log, so that no attempt that began before is overlooked.
async fn as_of(state: &Edge, team: &TeamId, drains: bool) -> Result<StreamSeq, ApiError> {
    if drains {
        return Ok(state.end_of_tasks().await?);
    }
    Ok(state.acknowledged.to(team))
}

/// Decides something about a queue, and answers once it holds everywhere: also where nothing has changed, since an earlier request for the
/// same may have been answered 503.
async fn decide(
    state: &Edge,
    caller: &Caller<QueuesWrite>,
    name: QueueName,
    command: QueueCommand,
) -> Result<Answer, ApiError> {
    let team = caller.team.base();
    let command = TeamCommand::Queue(command);
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let environment = caller.team.environment();
    let queue = after.state.queue(environment, &name);
    let shown = QueueObject::new(&name, environment, queue, entropy::now());
    Ok(answer(queue, QueueEnvelope { queue: shown }))
}
