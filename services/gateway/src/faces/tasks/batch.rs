//! `POST /v1/tasks/batch`: up to 1000 tasks in one request, each with its own outcome.

use std::borrow::Cow;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::task::Limits;
use waybill_domain::task::spec::check_idempotency_key;
use waybill_log::{Append, AppendError, Atomicity, Expectation, MAX_BATCH, Stream};

use super::create::{Accepted, Accepting, count_accepted, limits};
use super::idempotency::{self, Repeat};
use super::object::Task;
use super::request::CreateTask;
use crate::auth::Caller;
use crate::auth::needs::TasksWrite;
use crate::body::{self, Json};
use crate::edge::RequestContext;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;
use crate::vault::tasks::{self, Checked};

/// Tasks in one request: what the log takes in one atomic batch.
pub const MAX_TASKS: usize = MAX_BATCH;
/// Tasks with an idempotency key travel alone; so many of them at a time.
const KEYED_AT_A_TIME: usize = 32;
/// Tasks with credentials in their headers wait for the key of their seal to be stored; so many of them at a time.
const SEALED_AT_A_TIME: usize = 32;

/// Tasks to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateTasks {
    /// 1 to 1000 tasks. Each is checked by itself: a wrong one does not keep the others from being made.
    #[schema(value_type = Vec<CreateTask>, min_items = 1, max_items = 1000)]
    tasks: Vec<Box<RawValue>>,
}

/// What became of each task, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchOutcome {
    results: Vec<TaskOutcome>,
}

/// What became of one task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskOutcome {
    /// As if it had been sent alone: 201, 400, 422, 503.
    status: u16,
    /// The task, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Task>,
    /// It had been made before, by the same idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'static, str>>,
    /// The same, for clients that look for it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'static, str>>,
    /// The same for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'static, str>>,
    /// The task that may or may not have been made (`outcome_unknown` only).
    #[serde(rename = "taskId", skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
}

impl TaskOutcome {
    fn made(task: Task, replayed: bool) -> Self {
        Self {
            status: StatusCode::CREATED.as_u16(),
            task: Some(task),
            replayed: replayed.then_some(true),
            error: None,
            message: None,
            code: None,
            field: None,
            task_id: None,
        }
    }

    fn refused(error: ApiError) -> Self {
        let ErrorBody {
            error: text,
            message,
            code,
            field,
            task_id,
            key_id: _,
            violated_policies: _,
        } = *error.body;
        Self {
            status: error.status.as_u16(),
            task: None,
            replayed: None,
            error: Some(text),
            message: Some(message),
            code: Some(code),
            field,
            task_id,
        }
    }
}

/// Create many tasks.
///
/// 200 when all were made, 207 when some were not, 503 when certainly none was for want of the log: `results` tells of each, in order.
/// Tasks without an idempotency key are stored together, all or none.
///
/// An `Idempotency-Key` counts for each task by its place: the same request again makes no second task of any of them, whatever
/// became of the first one. A task's own `idempotencyKey` goes before it. Of a task whose outcome is unknown the result holds `taskId`.
#[utoipa::path(
    post,
    path = "/v1/tasks/batch",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; counts for each task by its place")),
    request_body = CreateTasks,
    responses(
        (status = 200, description = "All were made", body = BatchOutcome),
        (status = 207, description = "Some were not made", body = BatchOutcome),
        (status = 400, description = "The request as a whole is wrong", body = ErrorBody),
        (status = 401, description = "No or no valid API key", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 413, description = "The request is too large", body = ErrorBody),
        (status = 503, description = "Certainly none was made; see Retry-After", body = BatchUnavailable),
    )
)]
pub(crate) async fn create_tasks(
    State(state): State<AppState>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Json(request): Json<CreateTasks>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let key = idempotency::key(&headers)?;
    let count = request.tasks.len();
    if !(1..=MAX_TASKS).contains(&count) {
        return Err(ApiError::bad_field(
            "tasks",
            format!("tasks must hold 1 to {MAX_TASKS} tasks, not {count}"),
        ));
    }
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let mut batch = Batch::sort(&accepting, &limits, key.as_deref(), request.tasks);
    batch.store_together(&accepting).await;
    batch.store_alone(&accepting).await;
    let results = batch.results();
    let made = results
        .iter()
        .filter(|outcome| outcome.task.is_some() && outcome.replayed.is_none())
        .count();
    if made > 0 {
        count_accepted(made as u64, start);
    }
    let all = results.iter().all(|outcome| outcome.task.is_some());
    if let Some(error) = all_unavailable(&results) {
        return Ok(BatchUnavailable::answer(error, results));
    }
    let status = if all {
        StatusCode::OK
    } else {
        StatusCode::MULTI_STATUS
    };
    Ok((status, axum::Json(BatchOutcome { results })).into_response())
}

/// None was made: the request may be repeated as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchUnavailable {
    #[serde(flatten)]
    error: ErrorBody,
    results: Vec<TaskOutcome>,
}

impl BatchUnavailable {
    fn answer(error: ApiError, results: Vec<TaskOutcome>) -> Response {
        let body = Self {
            error: (*error.body).clone(),
            results,
        };
        let mut response = axum::Json(body).into_response();
        // Status and Retry-After as of every error of this kind.
        let (parts, _) = error.into_response().into_parts();
        *response.status_mut() = parts.status;
        response.extensions_mut().extend(parts.extensions);
        for (name, value) in &parts.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

/// The error of the whole request when nothing could be stored for want of something we need. Not when the outcome of any task is
/// unknown: whoever repeats such a request as a whole makes tasks twice, and 503 invites to that.
fn all_unavailable(results: &[TaskOutcome]) -> Option<ApiError> {
    let first = results.first()?;
    let certainly_not = |outcome: &TaskOutcome| outcome.status == 503 && outcome.task_id.is_none();
    let (code, text) = (first.code?, first.error.clone()?);
    results
        .iter()
        .all(certainly_not)
        .then(|| ApiError::unavailable(code, text))
}

/// The key of one task of a batch that has a key: no client can send a key with this separator in it.
fn key_at(batch: &str, at: usize) -> String {
    format!("{batch}\u{1f}{at}")
}

/// The tasks of a request on their way to an outcome each.
struct Batch {
    outcomes: Vec<Option<TaskOutcome>>,
    together: Vec<(usize, Checked)>,
    alone: Vec<(usize, Checked, String)>,
}

impl Batch {
    /// Checks each task.
    fn sort(
        accepting: &Accepting<'_>,
        limits: &Limits,
        key: Option<&str>,
        tasks: Vec<Box<RawValue>>,
    ) -> Self {
        let mut batch = Self {
            outcomes: Vec::with_capacity(tasks.len()),
            together: Vec::new(),
            alone: Vec::new(),
        };
        for (at, task) in tasks.into_iter().enumerate() {
            let key = key.map(|key| key_at(key, at));
            let outcome = batch.sort_one(accepting, limits, at, key, &task).err();
            batch.outcomes.push(outcome.map(TaskOutcome::refused));
        }
        batch
    }

    fn sort_one(
        &mut self,
        accepting: &Accepting<'_>,
        limits: &Limits,
        at: usize,
        by_place: Option<String>,
        task: &RawValue,
    ) -> Result<(), ApiError> {
        let mut request: CreateTask = body::parse(task.get().as_bytes())?;
        let own = request.idempotency_key.take();
        if let Some(key) = &own {
            check_idempotency_key(key).map_err(|_| {
                ApiError::bad_field(
                    "idempotencyKey",
                    "idempotencyKey must be 1 to 255 printable ASCII characters",
                )
            })?;
        }
        let checked = accepting.check(request, limits)?;
        match own.or(by_place) {
            Some(key) => self.alone.push((at, checked, key)),
            None => self.together.push((at, checked)),
        }
        Ok(())
    }

    /// Stores the tasks without a key in one append: all or none.
    async fn store_together(&mut self, accepting: &Accepting<'_>) {
        use futures::StreamExt;
        let together = std::mem::take(&mut self.together);
        let accepted: Vec<_> = futures::stream::iter(together)
            .map(async |(at, checked)| (at, accepting.accept(checked, None).await))
            .buffered(SEALED_AT_A_TIME)
            .collect()
            .await;
        let mut records = Vec::with_capacity(accepted.len());
        let mut created = Vec::with_capacity(accepted.len());
        for (at, accepted) in accepted {
            match accepted {
                Ok(Accepted {
                    created: event,
                    record,
                    seal,
                }) => {
                    created.push((at, event, seal));
                    records.push(record);
                }
                Err(error) => self.settle(at, TaskOutcome::refused(error)),
            }
        }
        if records.is_empty() {
            return;
        }
        let appended = accepting.state.log.append(Append {
            stream: Stream::Tasks,
            records,
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        });
        let error = match appended.await {
            Ok(appended) => {
                accepting.acknowledged(&appended);
                None
            }
            Err(error) => Some((
                matches!(error, AppendError::Unknown { .. }),
                ApiError::from(error),
            )),
        };
        for (at, event, seal) in created {
            let outcome = match &error {
                None => TaskOutcome::made(Task::created(event), false),
                Some((maybe_stored, error)) => {
                    if !maybe_stored {
                        tasks::forget(accepting.state, seal);
                    }
                    TaskOutcome::refused(error.clone().for_unknown(event.id, Repeat::AfterLooking))
                }
            };
            self.settle(at, outcome);
        }
    }

    /// Stores the tasks with a key, each by itself: a duplicate must not refuse its neighbours.
    async fn store_alone(&mut self, accepting: &Accepting<'_>) {
        use futures::StreamExt;
        let keyed = std::mem::take(&mut self.alone);
        let outcomes: Vec<_> = futures::stream::iter(keyed)
            .map(async |(at, checked, key)| {
                let outcome = match idempotency::create(accepting, checked, key).await {
                    Ok(outcome) => {
                        let (task, replayed) = outcome.into_parts();
                        TaskOutcome::made(task, replayed)
                    }
                    Err(error) => TaskOutcome::refused(error),
                };
                (at, outcome)
            })
            .buffered(KEYED_AT_A_TIME)
            .collect()
            .await;
        for (at, outcome) in outcomes {
            self.settle(at, outcome);
        }
    }

    fn settle(&mut self, at: usize, outcome: TaskOutcome) {
        if let Some(slot) = self.outcomes.get_mut(at) {
            debug_assert!(slot.is_none(), "a task has one outcome");
            *slot = Some(outcome);
        }
    }

    fn results(self) -> Vec<TaskOutcome> {
        debug_assert!(
            self.outcomes.iter().all(Option::is_some),
            "every task has an outcome"
        );
        self.outcomes.into_iter().flatten().collect()
    }
}
