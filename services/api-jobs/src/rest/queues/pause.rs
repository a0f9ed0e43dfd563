//! `POST /api/v1/queues/{name}/pause`. By the time of the answer, nothing of the queue is given any more.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};
use waybill_edge::iso::Iso;

use super::find;
use crate::body::OptionalBody;

/// A pause.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobsPauseQueue {
    /// Why, for people; at most 500 characters.
    #[schema(max_length = 500)]
    pub reason: Option<String>,
}

/// The queue is paused.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsQueuePaused {
    pub queue_name: String,
    pub paused: bool,
    /// Since when it is.
    #[schema(value_type = String, format = DateTime)]
    pub paused_at: Iso,
    pub reason: Option<String>,
}

/// Pause a queue: nothing of it is given to workers until it is resumed. Jobs are accepted meanwhile, and those that are held go on.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/pause",
    operation_id = "jobs.queue.pause",
    tag = "jobs",
    security(("api_key" = ["queues:write"])),
    params(("name" = String, Path, description = "Name of the queue")),
    request_body = Option<JobsPauseQueue>,
    responses(
        (status = 200, description = "It is paused", body = JobsQueuePaused),
        (status = 404, description = "No such queue", body = JobsErrorBody),
    )
)]
pub(crate) async fn pause_queue(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesWrite>>,
    Path(name): Path<String>,
    OptionalBody(request, ignored): OptionalBody<JobsPauseQueue>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &name).await?;
    let environment = caller.team.environment();
    let command = TeamCommand::Queue(QueueCommand::Pause {
        environment,
        queue: found.name.clone(),
        reason: request.reason,
        until: None,
        drain: false,
    });
    let team = caller.team.base();
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let now = entropy::now();
    let queue = after.state.queue(environment, &found.name);
    let pause = queue.and_then(|queue| queue.paused(now));
    let paused = JobsQueuePaused {
        queue_name: found.name.to_string(),
        paused: true,
        paused_at: Iso(pause.map_or(now, |pause| pause.since)),
        reason: pause.and_then(|pause| pause.reason.clone()),
    };
    Ok(ignored.answer(StatusCode::OK, paused))
}
