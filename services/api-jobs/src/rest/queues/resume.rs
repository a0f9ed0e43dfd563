//! `POST /api/v1/queues/{name}/resume`.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_commands::entropy;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesWrite};
use waybill_edge::error::{ApiError, JobsErrorBody};

use super::find;
use crate::body::OptionalBody;
use crate::rest::Nothing;

/// The queue goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsQueueResumed {
    pub queue_name: String,
    pub resumed: bool,
    /// How long it was paused; 0 if it was not.
    pub paused_duration_secs: u64,
}

/// Resume a queue. One that is not paused stays as it is.
#[utoipa::path(
    post,
    path = "/api/v1/queues/{name}/resume",
    operation_id = "jobs.queue.resume",
    tag = "jobs",
    security(("api_key" = ["queues:write"])),
    params(("name" = String, Path, description = "Name of the queue")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It is not paused any more", body = JobsQueueResumed),
        (status = 404, description = "No such queue", body = JobsErrorBody),
    )
)]
pub(crate) async fn resume_queue(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesWrite>>,
    Path(name): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &name).await?;
    let now = entropy::now();
    let pause = found.decided.as_ref().and_then(|queue| queue.paused(now));
    let paused = pause.map_or(0, |pause| now.since(pause.since).as_secs());
    let command = TeamCommand::Queue(QueueCommand::Resume {
        environment: caller.team.environment(),
        queue: found.name.clone(),
    });
    let team = caller.team.base();
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    let resumed = JobsQueueResumed {
        queue_name: found.name.to_string(),
        resumed: true,
        paused_duration_secs: paused,
    };
    Ok(ignored.answer(StatusCode::OK, resumed))
}
