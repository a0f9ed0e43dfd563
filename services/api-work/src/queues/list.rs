//! `GET /v1/queues`: the queues of the team.

use std::collections::BTreeMap;

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::{Queue, Team};
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesRead};
use waybill_edge::error::ApiError;
use waybill_projector::query::QueueCounts;

use super::object::{QueueList, QueueObject};
use super::statistics::Lately;

/// List the queues, with what holds their tasks back, how many they have, and what happened in them lately.
#[utoipa::path(
    get,
    path = "/v1/queues",
    operation_id = "work.queue.list",
    tag = "queues",
    security(("api_key" = ["queues:read"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The queues", body = QueueList),
    )
)]
pub(crate) async fn list_queues(
    State(state): State<Edge>,
    caller: Caller<InQueues<QueuesRead>>,
) -> Result<axum::Json<QueueList>, ApiError> {
    let (environment, now) = (caller.team.environment(), entropy::now());
    let of_team = |team: &Team| -> Vec<(QueueName, Queue)> {
        let queues = team.queues_in(environment);
        queues
            .map(|(name, queue)| (name.clone(), queue.clone()))
            .collect()
    };
    let directory = state.auth.directory();
    let decided = directory.with_team(&caller.team.base(), of_team);
    let decided = decided.unwrap_or_default();
    let drains = decided.iter().any(|(_, queue)| queue.drains(now));
    let min_seq = super::as_of(&state, &caller.team, drains).await?;
    let counters = state.queries.counters(&caller.team, min_seq).await?.value;
    let lately = Lately::of_all(&state, &caller.team).await?;
    let mut queues: BTreeMap<QueueName, (Option<QueueCounts>, Option<Queue>)> = counters
        .queues
        .into_iter()
        .map(|counts| (counts.queue.clone(), (Some(counts), None)))
        .collect();
    for (name, queue) in decided {
        if queue.paused(now).is_some() || queue.has_settings() || queues.contains_key(&name) {
            queues.entry(name).or_default().1 = Some(queue);
        }
    }
    queues.retain(|name, _| caller.may_use(name).is_ok());
    let shown = queues.iter().map(|(name, (counts, queue))| {
        QueueObject::new(name, environment, queue.as_ref(), now)
            .counted(counts.as_ref())
            .with_statistics(&lately)
    });
    Ok(axum::Json(QueueList {
        queues: shown.collect(),
        truncated: counters.truncated,
        exact: counters.exact,
    }))
}
