//! `POST /api/v1/jobs/{id}/retry`: a job that has failed is done again.
//!
//! That makes a task of its own, with a key that follows from the one that failed, so that it is made once; the job goes on as that task and
//! keeps its id. The failed task is taken out of the dead letters.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepting, limits};
use waybill_api_tasks::replay::{again, go_on};
use waybill_api_tasks::request::CreateTask;
use waybill_domain::command::OwnerRequest;
use waybill_domain::operation::retry_key;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite, Need};
use waybill_edge::error::{ApiError, ErrorCode, JobsErrorBody};

use super::create::store;
use crate::body::OptionalBody;
use crate::find::{self, Found};
use crate::models::job::JobsJob;
use crate::owner;
use crate::rest::Nothing;

/// Try a job again that has failed for good.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/retry",
    operation_id = "jobs.job.retry",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    params(("id" = String, Path, description = "Id of the job, a UUID")),
    request_body = Option<Nothing>,
    responses(
        (status = 200, description = "It is pending again", body = JobsJob),
        (status = 404, description = "No such job", body = JobsErrorBody),
        (status = 409, description = "It has not failed", body = JobsErrorBody),
    )
)]
pub(crate) async fn retry_job(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Path(id): Path<String>,
    OptionalBody(Nothing {}, ignored): OptionalBody<Nothing>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let found = find::row(&state, &caller, &id).await?;
    if !matches!(found.status, JobStatus::Failed | JobStatus::Deadletter) {
        let text = format!("Job cannot be retried (current: {})", found.status.as_str());
        return Err(ApiError::conflict(ErrorCode::Conflict, text));
    }
    retry(&state, &caller, &found).await?;
    let found = find::whole(&state, &caller, &id).await?;
    let job = JobsJob::read(found.status, found.view);
    Ok(ignored.answer(StatusCode::OK, job))
}

/// Makes the task as which a failed job goes on.
pub(crate) async fn retry<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    found: &Found,
) -> Result<(), ApiError> {
    let row = found.row();
    let accepting = Accepting::new(state, caller, caller.context());
    let limits = limits(state, caller);
    let mut checked = again(&accepting, row, CreateTask::default(), &limits).await?;
    go_on(&mut checked, row);
    store(state, caller, &accepting, checked, Some(retry_key(row.id))).await?;
    remove(state, caller, row).await
}

/// Takes an ended task out of the dead letters.
pub async fn remove<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    row: &TaskRow,
) -> Result<(), ApiError> {
    if !row.is_dead_letter() {
        return Ok(());
    }
    let request = OwnerRequest::PurgeLetter {
        task: row.id,
        team: caller.team.clone(),
        queue: row.queue.clone(),
        actor: caller.actor(),
        traceparent: Some(caller.context().traceparent.to_string()),
    };
    let reply = owner::ask(state, row.id.partition(), &request).await?;
    if let waybill_domain::command::OwnerReply::Done { seq } = reply {
        state.acknowledge(&caller.context().position, &caller.team, seq);
    }
    Ok(())
}
