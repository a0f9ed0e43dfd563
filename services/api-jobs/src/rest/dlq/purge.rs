//! `POST /api/v1/jobs/dlq/purge`: dead letters are removed.

use axum::extract::State;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_domain::id::QueueName;
use waybill_domain::task::{JobStatus, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{DlqWrite, InQueues, Need};
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_projector::query::{JobOrder, ListJobs, MAX_JOBS, Position};

use crate::body::Body;
use crate::rest::jobs::retry::remove;
use crate::{permission, rules};

/// Letters that are removed at the same time.
const AT_A_TIME: usize = 32;

/// Which dead letters are removed.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsPurgeLetters {
    pub queue_name: Option<String>,
    /// Only created before this time (RFC 3339).
    #[schema(format = DateTime)]
    pub older_than: Option<String>,
    /// How many at most.
    #[schema(default = 10000, minimum = 1, maximum = 10000)]
    pub limit: Option<i64>,
    /// Must be `true`.
    #[schema(default = false)]
    pub confirm: Option<bool>,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsPurged {
    pub purged_count: usize,
}

/// Remove dead letters.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/dlq/purge",
    operation_id = "jobs.letter.purge",
    tag = "jobs",
    security(("api_key" = ["dlq:write"])),
    request_body = JobsPurgeLetters,
    responses((status = 200, description = "They are gone", body = JobsPurged))
)]
pub(crate) async fn purge_letters(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<DlqWrite>>,
    Body(request, ignored): Body<JobsPurgeLetters>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    if request.confirm != Some(true) {
        let text = "Purging dead letters needs confirm: true";
        return Err(ApiError::bad_request(ErrorCode::BadRequest, text));
    }
    let limit = rules::whole("limit", request.limit, (1, 10_000))?.unwrap_or(10_000);
    let limit = usize::try_from(limit).unwrap_or(1);
    let older_than = rules::time("older_than", request.older_than.as_deref())?;
    let queue = queue(&caller, request.queue_name.as_deref())?;
    let letters = letters(&state, &caller, queue, older_than, limit).await?;
    let purged_count = letters.len();
    let (state, caller) = (&state, &caller);
    let mut removed = stream::iter(letters)
        .map(|row| async move { remove(state, caller, &row).await })
        .buffer_unordered(AT_A_TIME);
    while let Some(removed) = removed.next().await {
        removed?;
    }
    Ok(ignored.answer(StatusCode::OK, JobsPurged { purged_count }))
}

/// The queue whose letters are meant, if one is named; a key with a list of queues has to name one.
pub(super) fn queue<N: Need>(
    caller: &Caller<N>,
    name: Option<&str>,
) -> Result<Option<QueueName>, ApiError> {
    if let Some(name) = name {
        let queue = rules::queue("queue_name", name)?;
        permission::named(caller, &queue)?;
        return Ok(Some(queue));
    }
    if caller.only_queues().is_none() {
        return Ok(None);
    }
    let text = "API key is limited to queues: queue_name is required";
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        ErrorCode::AccessDenied,
        text,
    ))
}

/// The newest dead letters, at most so many.
pub(super) async fn letters<N: Need>(
    state: &TasksApi,
    caller: &Caller<N>,
    queue: Option<QueueName>,
    older_than: Option<Timestamp>,
    limit: usize,
) -> Result<Vec<TaskRow>, ApiError> {
    let mut letters: Vec<TaskRow> = Vec::new();
    let min_seq = state.acknowledged.to(&caller.team);
    while letters.len() < limit {
        let left = (limit - letters.len()).min(MAX_JOBS.into());
        let query = ListJobs {
            team: caller.team.clone(),
            statuses: vec![JobStatus::Deadletter],
            queue: queue.clone(),
            queues: caller.only_queues().unwrap_or_default().to_vec(),
            hidden: std::collections::BTreeMap::new(),
            created_after: None,
            created_before: older_than,
            q: None,
            job_type: None,
            tag: None,
            order: JobOrder::CreatedAt,
            ascending: false,
            limit: u16::try_from(left).unwrap_or(MAX_JOBS),
            offset: u32::try_from(letters.len()).unwrap_or(u32::MAX),
        };
        let asked = state.queries.ask(query, Position::tasks(min_seq));
        let page = asked.await?.value;
        let found = page.jobs.len();
        letters.extend(page.jobs.into_iter().map(|job| job.row));
        if !page.has_more || found == 0 {
            break;
        }
    }
    Ok(letters)
}
