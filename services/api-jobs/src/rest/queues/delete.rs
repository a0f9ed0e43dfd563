//! `DELETE /api/v1/queues/{name}`: what was decided about a queue is forgotten.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use waybill_api_tasks::TasksApi;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::queues::QueueCommand;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, QueuesWrite};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_projector::query::{CountJobs, Position};

use super::find;
use crate::body::Ignored;
use crate::rules;

/// Whether jobs go with the queue.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct JobsDeleteQueueParams {
    /// `true` is refused: jobs are kept as long as the log has them.
    pub delete_jobs: Option<bool>,
}

impl HasLists for JobsDeleteQueueParams {}

/// Delete a queue: its settings and its pause. Jobs of it that have ended are still found, so it is listed as long as they are kept.
#[utoipa::path(
    delete,
    path = "/api/v1/queues/{name}",
    operation_id = "jobs.queue.delete",
    tag = "jobs",
    security(("api_key" = ["queues:write"])),
    params(("name" = String, Path, description = "Name of the queue"), JobsDeleteQueueParams),
    responses(
        (status = 204, description = "They are gone"),
        (status = 404, description = "No such queue", body = JobsErrorBody),
        (status = 409, description = "It has jobs that have not ended, or dead letters", body = JobsErrorBody),
    )
)]
pub(crate) async fn delete_queue(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<QueuesWrite>>,
    Path(name): Path<String>,
    LenientQuery(params, warnings): LenientQuery<JobsDeleteQueueParams>,
) -> Result<Response, ApiError> {
    let found = find(&state, &caller, &name).await?;
    if params.delete_jobs == Some(true) {
        let text = "cannot be true: cancel or purge the jobs of the queue first; those that have ended are kept as long as the log has them";
        return Err(rules::broken("delete_jobs", text, "unsupported"));
    }
    let query = CountJobs {
        team: caller.team.clone(),
        queue: Some(found.name.clone()),
        queues: Vec::new(),
    };
    let known = Position::tasks(state.acknowledged.to(&caller.team));
    let counts = state.queries.ask(query, known).await?.value;
    let holds = |status: &&JobStatus| !status.is_final() || **status == JobStatus::Deadletter;
    let held = JobStatus::ALL.iter().filter(holds);
    let held: u64 = held.map(|status| counts.of(*status)).sum();
    if held > 0 {
        let text = format!("Queue has {held} jobs that have not ended or are dead letters");
        return Err(ApiError::conflict(ErrorCode::Conflict, text));
    }
    let command = TeamCommand::Queue(QueueCommand::Forget {
        environment: caller.team.environment(),
        queue: found.name,
    });
    let team = caller.team.base();
    let after = state.control.run_team(&team, command, &caller.by()).await?;
    state.settle_everywhere(after.version).await?;
    Ok(Ignored::of(warnings).empty())
}
