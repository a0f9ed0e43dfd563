//! `POST /api/v1/jobs/bulk`: up to a hundred jobs of one queue.

use std::collections::HashMap;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_tasks::TasksApi;
use waybill_api_tasks::accept::{Accepted, Accepting, count_accepted, limits};
use waybill_api_tasks::credentials::Checked;
use waybill_domain::id::{QueueName, TaskId};
use waybill_domain::task::Priority;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, JobsWrite};
use waybill_edge::error::ApiError;
use waybill_edge::request::RequestContext;
use waybill_log::{Append, Atomicity, Expectation, Stream};

use super::create::{NewJob, retries, store, timeout};
use crate::body::Body;
use crate::{permission, rules};

/// How many jobs one request may have.
const MAX_JOBS: usize = 100;

/// Jobs to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateJobs {
    #[schema(min_length = 1, max_length = 100)]
    pub queue_name: String,
    /// 1 to 100.
    #[schema(min_items = 1, max_items = 100)]
    pub jobs: Vec<JobsBulkItem>,
    /// For those that say nothing else.
    #[schema(minimum = -100, maximum = 100)]
    pub default_priority: Option<i64>,
    #[schema(minimum = 0, maximum = 100)]
    pub default_max_retries: Option<i64>,
    #[schema(minimum = 1, maximum = 86400)]
    pub default_timeout_seconds: Option<i64>,
}

/// One of them.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsBulkItem {
    /// Any JSON.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    #[schema(min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Not before this time (RFC 3339).
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
}

/// What became of each job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsBulkOutcome {
    /// In the order of the request.
    pub succeeded: Vec<JobsBulkSuccess>,
    pub failed: Vec<JobsBulkFailure>,
    pub total: usize,
    pub success_count: usize,
    pub failure_count: usize,
}

/// A job that is on disk.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsBulkSuccess {
    /// Its place in the request, from 0.
    pub index: usize,
    pub job_id: String,
    /// `false`: its idempotency key was known.
    pub created: bool,
}

/// A job that was not created.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsBulkFailure {
    /// Its place in the request, from 0.
    pub index: usize,
    pub error: String,
}

/// Create many jobs.
///
/// Each is checked by itself: a wrong one does not keep the others from being created. Those without an idempotency key are stored together,
/// all or none.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/bulk",
    operation_id = "jobs.job.create_bulk",
    tag = "jobs",
    security(("api_key" = ["jobs:write"])),
    request_body = JobsCreateJobs,
    responses((status = 200, description = "What became of each", body = JobsBulkOutcome))
)]
pub(crate) async fn create_jobs(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<JobsWrite>>,
    Extension(context): Extension<RequestContext>,
    Body(request, ignored): Body<JobsCreateJobs>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let queue = rules::queue("queue_name", &request.queue_name)?;
    let total = request.jobs.len();
    if !(1..=MAX_JOBS).contains(&total) {
        let text = format!("must be 1 to {MAX_JOBS} jobs, not {total}");
        return Err(rules::broken("jobs", text, "length"));
    }
    let defaults = Defaults {
        queue: queue.clone(),
        priority: rules::priority("default_priority", request.default_priority)?,
        max_retries: retries("default_max_retries", request.default_max_retries)?,
        timeout_s: timeout("default_timeout_seconds", request.default_timeout_seconds)?,
    };
    permission::named(&caller, &queue)?;
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let mut outcomes: Vec<Option<Result<(TaskId, bool), ApiError>>> = Vec::new();
    let mut together = Vec::new();
    let mut by_key: HashMap<String, TaskId> = HashMap::new();
    for (index, item) in request.jobs.into_iter().enumerate() {
        let checked = item.check(&defaults).and_then(|job| {
            let key = job.key.clone();
            Ok((job.into_task(&accepting, &limits)?, key))
        });
        let outcome = match checked {
            Err(error) => Some(Err(error)),
            Ok((checked, None)) => {
                together.push((index, checked));
                None
            }
            Ok((checked, Some(key))) => Some(match by_key.get(&key) {
                Some(known) => Ok((*known, false)),
                None => {
                    let stored =
                        store(&state, &caller, &accepting, checked, Some(key.clone())).await;
                    if let Ok((id, _)) = stored {
                        by_key.insert(key, id);
                    }
                    stored
                }
            }),
        };
        outcomes.push(outcome);
    }
    store_together(&state, &accepting, together, &mut outcomes).await?;
    let outcome = told(outcomes)?;
    let created = outcome.succeeded.iter().filter(|job| job.created).count();
    count_accepted(created as u64, start);
    Ok(ignored.answer(StatusCode::OK, outcome))
}

/// What jobs have that say nothing else.
struct Defaults {
    queue: QueueName,
    priority: Option<Priority>,
    max_retries: Option<u16>,
    timeout_s: Option<u32>,
}

impl JobsBulkItem {
    fn check(self, defaults: &Defaults) -> Result<NewJob, ApiError> {
        let priority = rules::priority("priority", self.priority)?;
        Ok(NewJob {
            queue: defaults.queue.clone(),
            payload: self.payload,
            priority: priority.or(defaults.priority),
            max_retries: defaults.max_retries,
            timeout_s: defaults.timeout_s,
            scheduled_at: rules::time("scheduled_at", self.scheduled_at.as_deref())?,
            expires_at: None,
            key: rules::key(self.idempotency_key)?,
            tags: None,
        })
    }
}

/// Stores jobs without a key in one step, all or none.
async fn store_together(
    state: &TasksApi,
    accepting: &Accepting<'_>,
    jobs: Vec<(usize, Checked)>,
    outcomes: &mut [Option<Result<(TaskId, bool), ApiError>>],
) -> Result<(), ApiError> {
    let (mut ids, mut records) = (Vec::new(), Vec::new());
    for (index, checked) in jobs {
        let Accepted { created, record } = accepting.accept(checked, None).await?;
        ids.push((index, created.id));
        records.push(record);
    }
    if records.is_empty() {
        return Ok(());
    }
    let appended = state.log.append(Append {
        stream: Stream::Tasks,
        records,
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    });
    accepting.acknowledged(&appended.await?);
    for (index, id) in ids {
        outcomes[index] = Some(Ok((id, true)));
    }
    Ok(())
}

/// What is answered. When something that is needed is unavailable, the request as a whole is, and may be repeated.
fn told(
    outcomes: Vec<Option<Result<(TaskId, bool), ApiError>>>,
) -> Result<JobsBulkOutcome, ApiError> {
    let total = outcomes.len();
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Some(Ok((id, created))) => succeeded.push(JobsBulkSuccess {
                index,
                job_id: id.uuid_text(),
                created,
            }),
            Some(Err(error)) if error.status.is_server_error() => return Err(error),
            Some(Err(error)) => failed.push(JobsBulkFailure {
                index,
                error: error.body.message.into_owned(),
            }),
            None => return Err(ApiError::internal(&"a job without an outcome")),
        }
    }
    Ok(JobsBulkOutcome {
        total,
        success_count: succeeded.len(),
        failure_count: failed.len(),
        succeeded,
        failed,
    })
}
