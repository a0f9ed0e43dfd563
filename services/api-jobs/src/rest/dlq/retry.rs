//! `POST /api/v1/jobs/dlq/retry`: dead letters are tried again, named or of a queue.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::task::JobStatus;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{DlqWrite, InQueues};
use waybill_edge::error::{ApiError, ErrorCode};

use super::purge::{letters, queue};
use crate::body::OptionalBody;
use crate::rest::jobs::retry::retry;
use crate::{find, rules};

/// Letters that are tried again at the same time.
const AT_A_TIME: usize = 16;

/// Which dead letters are tried again: those that are named, or those of a queue, the newest first.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct JobsRetryLetters {
    #[schema(max_items = 1000)]
    pub job_ids: Option<Vec<String>>,
    pub queue_name: Option<String>,
    /// How many at most.
    #[schema(default = 100, minimum = 1, maximum = 1000)]
    pub limit: Option<i64>,
}

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsRetried {
    pub retried_count: usize,
    /// Ids of the jobs that are pending again.
    pub retried_jobs: Vec<String>,
    /// Ids of those that were left alone, since they are no dead letters or cannot be done again by themselves.
    pub skipped_jobs: Vec<String>,
}

/// Try dead letters again.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/dlq/retry",
    operation_id = "jobs.letter.retry",
    tag = "jobs",
    security(("api_key" = ["dlq:write"])),
    request_body = Option<JobsRetryLetters>,
    responses((status = 200, description = "Those that there were are pending again", body = JobsRetried))
)]
pub(crate) async fn retry_letters(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<DlqWrite>>,
    OptionalBody(request, ignored): OptionalBody<JobsRetryLetters>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let limit = rules::whole("limit", request.limit, (1, 1_000))?.unwrap_or(100);
    let limit = usize::try_from(limit).unwrap_or(1);
    let queue = queue(&caller, request.queue_name.as_deref())?;
    let ids = match request.job_ids {
        Some(ids) if ids.len() > limit => {
            let text = format!("Maximum {limit} job IDs allowed per request");
            return Err(ApiError::bad_request(ErrorCode::BadRequest, text));
        }
        Some(ids) => ids,
        None => {
            let letters = letters(&state, &caller, queue.clone(), None, limit).await?;
            letters
                .iter()
                .map(|row| row.job_root().uuid_text())
                .collect()
        }
    };
    let mut tried = stream::iter(ids)
        .map(|id| async {
            let done = try_again(&state, &caller, &id, queue.as_ref()).await;
            (id, done)
        })
        .buffered(AT_A_TIME);
    let mut told = JobsRetried {
        retried_count: 0,
        retried_jobs: Vec::new(),
        skipped_jobs: Vec::new(),
    };
    while let Some((id, done)) = tried.next().await {
        if done? {
            told.retried_jobs.push(id);
        } else {
            told.skipped_jobs.push(id);
        }
    }
    told.retried_count = told.retried_jobs.len();
    Ok(ignored.answer(StatusCode::OK, told))
}

/// Whether a job is pending again that was a dead letter.
async fn try_again(
    state: &TasksApi,
    caller: &Caller<InQueues<DlqWrite>>,
    id: &str,
    queue: Option<&waybill_domain::id::QueueName>,
) -> Result<bool, ApiError> {
    let found = match find::row(state, caller, id).await {
        Ok(found) => found,
        Err(error) if error.status == StatusCode::NOT_FOUND => return Ok(false),
        Err(error) => return Err(error),
    };
    let is_in_queue = queue.is_none_or(|queue| found.row().queue == *queue);
    if found.status != JobStatus::Deadletter || !is_in_queue {
        return Ok(false);
    }
    match retry(state, caller, &found).await {
        Ok(()) => Ok(true),
        Err(error) if error.status.is_server_error() => Err(error),
        // Its request is no longer kept, or it takes over results of a workflow.
        Err(_) => Ok(false),
    }
}
