//! `GET /v1/queues`: the queues of the team.

use std::collections::BTreeMap;

use axum::extract::State;
use waybill_commands::entropy;
use waybill_domain::access::team::{Queue, Team};
use waybill_domain::id::QueueName;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::QueuesRead;
use waybill_edge::error::ApiError;
use waybill_projector::query::QueueCounts;

use super::object::{QueueList, QueueObject};

/// List the queues, with what holds their tasks back and how many they have.
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
    caller: Caller<QueuesRead>,
) -> Result<axum::Json<QueueList>, ApiError> {
    let min_seq = state.acknowledged.to(&caller.team);
    let counters = state.queries.counters(&caller.team, min_seq).await?.value;
    let (environment, now) = (caller.team.environment(), entropy::now());
    let mut queues: BTreeMap<QueueName, (Option<QueueCounts>, Option<Queue>)> = counters
        .queues
        .into_iter()
        .map(|counts| (counts.queue.clone(), (Some(counts), None)))
        .collect();
    let of_team = |team: &Team| {
        for ((of, name), queue) in &team.queues {
            let is_told =
                queue.paused(now).is_some() || queue.has_settings() || queues.contains_key(name);
            if *of == environment && is_told {
                queues.entry(name.clone()).or_default().1 = Some(queue.clone());
            }
        }
    };
    let directory = state.auth.directory();
    directory.with_team(&caller.team.base(), of_team);
    let shown = queues.iter().map(|(name, (counts, queue))| {
        QueueObject::new(name, environment, queue.as_ref(), now).counted(counts.as_ref())
    });
    Ok(axum::Json(QueueList {
        queues: shown.collect(),
        truncated: counters.truncated,
        exact: counters.exact,
    }))
}
