//! `POST /v1/tasks/batch`: up to 1000 tasks in one request, each with its own outcome.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::id::QueueName;
use waybill_domain::task::Limits;
use waybill_domain::task::retry_plan::RetryTerms;
use waybill_domain::task::spec::check_idempotency_key;
use waybill_log::{Append, Atomicity, Expectation, MAX_BATCH, Stream};

use super::accept::{Accepted, Accepting, count_accepted, limits};
use super::explain::{ExplainParams, PlannedAttempt, warn_of_retries};
use super::idempotency;
use super::object::Task;
use super::request::CreateTask;
use crate::credentials::Checked;
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksWrite};
use waybill_edge::body;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::idempotency::{Repeat, key as request_key};
use waybill_edge::lenient::{LenientJson, LenientQuery};
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::{Handling, Warning};

/// Tasks in one request: what the log takes in one atomic batch.
pub const MAX_TASKS: usize = MAX_BATCH;
/// Tasks with an idempotency key are appended one by one; this many at the same time.
const KEYED_AT_A_TIME: usize = 32;
/// Tasks with credentials in their headers wait until the key of their seal is stored; this many at the same time.
const SEALED_AT_A_TIME: usize = 32;

/// Tasks to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct CreateTasks {
    /// 1 to 1000 tasks. Each is checked by itself: an invalid one does not keep the others from being created.
    #[schema(value_type = Vec<CreateTask>, min_items = 1, max_items = 1000)]
    tasks: Vec<Box<RawValue>>,
}

/// The outcome of each task, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchOutcome {
    results: Vec<TaskOutcome>,
    /// Warnings about the request itself, outside its tasks: what of it has no effect. At most 20; absent when all of it has an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// The outcome of one task.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskOutcome {
    /// The HTTP status that the task alone would have got: 201, 400, 422, 503.
    status: u16,
    /// The task, when it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<Task>,
    /// When its attempts would be made, with `?explain=retries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<Vec<PlannedAttempt>>,
    /// Warnings about this task: what of it has no effect. At most 20; absent when all of it has an effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    /// `true`: it had been created before, with the same idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    /// Why it was not created.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'static, str>>,
    /// The same text, for clients that read `message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'static, str>>,
    /// The reason as a code for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'static, str>>,
    /// The task that may or may not have been created (`outcome_unknown` only).
    #[serde(rename = "taskId", skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    /// Seconds after which it may be sent again, for the answer as a whole.
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl TaskOutcome {
    fn created(task: Task, replayed: bool) -> Self {
        Self {
            status: StatusCode::CREATED.as_u16(),
            task: Some(task),
            retries: None,
            warnings: Vec::new(),
            replayed: replayed.then_some(true),
            error: None,
            message: None,
            code: None,
            field: None,
            task_id: None,
            retry_after_s: None,
        }
    }

    fn refused(error: ApiError) -> Self {
        let retry_after_s = error.retry_after_seconds();
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
            retries: None,
            warnings: Vec::new(),
            replayed: None,
            error: Some(text),
            message: Some(message),
            code: Some(code),
            field,
            task_id,
            retry_after_s,
        }
    }
}

/// Create many tasks.
///
/// 200 when all were created, 207 when some were not, 503 when none was because something was unavailable: `results` has the outcome of
/// each, in order. Tasks without an idempotency key are stored together, all or none.
///
/// An `Idempotency-Key` applies to each task by its position: repeating the request creates no task a second time. A task's own
/// `idempotencyKey` takes precedence. The result of a task whose outcome is unknown holds `taskId`.
#[utoipa::path(
    post,
    path = "/v1/tasks/batch",
    operation_id = "tasks.task.create_batch",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters; applies to each task by its position"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: a task that would have a warning is refused with 400, and so is the request as a whole"),
        ExplainParams,
    ),
    request_body = CreateTasks,
    responses(
        (status = 200, description = "All were created", body = BatchOutcome),
        (status = 207, description = "Some were not created", body = BatchOutcome),
        (status = 400, description = "The request as a whole is wrong", body = ErrorBody),
        (status = 503, description = "None was created; repeat the request after `Retry-After`", body = BatchUnavailable),
    )
)]
pub(crate) async fn create_tasks(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<TasksWrite>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    LenientQuery(explain, in_query): LenientQuery<ExplainParams>,
    LenientJson(request, in_body): LenientJson<CreateTasks>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let handling = Handling::of(&headers);
    let warnings = in_query.and(in_body).judge(handling)?;
    let start = Instant::now();
    let key = request_key(&headers)?;
    let count = request.tasks.len();
    if !(1..=MAX_TASKS).contains(&count) {
        return Err(ApiError::bad_field(
            "tasks",
            format!("tasks must hold 1 to {MAX_TASKS} tasks, not {count}"),
        ));
    }
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let reading = Reading {
        accepting: &accepting,
        limits: &limits,
        handling,
    };
    let mut batch = Batch::sort(&reading, key.as_deref(), request.tasks);
    batch.store_together(&accepting).await;
    batch.store_alone(&accepting).await;
    let results = batch.results(&explain);
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
    Ok((status, axum::Json(BatchOutcome { results, warnings })).into_response())
}

/// None was created: the request may be repeated as it is.
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

/// The error of the whole request when nothing could be stored because something was unavailable: that of the task which has to wait the
/// longest, since the request is repeated as a whole. Not when the outcome of any task is unknown: whoever repeats such a request as a
/// whole makes tasks twice, and 503 invites to that.
fn all_unavailable(results: &[TaskOutcome]) -> Option<ApiError> {
    let certainly_not = |outcome: &TaskOutcome| outcome.status == 503 && outcome.task_id.is_none();
    if !results.iter().all(certainly_not) {
        return None;
    }
    let wait = |outcome: &TaskOutcome| outcome.retry_after_s.unwrap_or_default();
    let longest = results.iter().max_by_key(|outcome| wait(outcome))?;
    let (code, text) = (longest.code?, longest.error.clone()?);
    Some(ApiError::unavailable(code, text).retry_after(wait(longest)))
}

/// The key of one task of a batch that has a key: no client can send a key with this separator in it.
fn key_at(batch: &str, at: usize) -> String {
    format!("{batch}\u{1f}{at}")
}

/// Tasks that are stored one after the other, so that they stand in the log in the order of the request: those of one queue with the same
/// ordering key. Every other task is alone.
fn in_lines(tasks: Vec<(usize, Checked, String)>) -> Vec<Vec<(usize, Checked, String)>> {
    let mut lines: Vec<Vec<_>> = Vec::with_capacity(tasks.len());
    let mut known: HashMap<(QueueName, String), usize> = HashMap::new();
    for task in tasks {
        let spec = &task.1.spec;
        let line = spec
            .ordering
            .as_ref()
            .map(|ordering| (spec.queue.clone(), ordering.key.clone()));
        let at = line.map(|line| *known.entry(line).or_insert(lines.len()));
        match at.and_then(|at| lines.get_mut(at)) {
            Some(line) => line.push(task),
            None => lines.push(vec![task]),
        }
    }
    lines
}

/// How the tasks of a request are read.
struct Reading<'a> {
    accepting: &'a Accepting<'a>,
    limits: &'a Limits,
    handling: Handling,
}

impl Reading<'_> {
    /// Reads and checks one task, with its own key if it has one, and warnings of what has no effect.
    fn read(&self, task: &RawValue) -> Result<(Checked, Option<String>, Vec<Warning>), ApiError> {
        let (mut request, unknown): (CreateTask, _) = body::parse_leniently(task.get().as_bytes())?;
        let own = request.idempotency_key.take();
        if let Some(key) = &own {
            check_idempotency_key(key).map_err(|_| {
                ApiError::bad_field(
                    "idempotencyKey",
                    "idempotencyKey must be 1 to 255 printable ASCII characters",
                )
            })?;
        }
        let checked = self.accepting.check(request, self.limits)?;
        let terms = RetryTerms::of(&checked.spec, entropy::now());
        let warnings = warn_of_retries(unknown, &terms, self.handling)?;
        Ok((checked, own, warnings))
    }
}

/// The tasks of a request, each with its outcome once that is known.
struct Batch {
    outcomes: Vec<Option<TaskOutcome>>,
    /// Of each task, in the order of the request.
    warnings: Vec<Vec<Warning>>,
    together: Vec<(usize, Checked)>,
    alone: Vec<(usize, Checked, String)>,
}

impl Batch {
    /// Checks each task.
    fn sort(reading: &Reading<'_>, key: Option<&str>, tasks: Vec<Box<RawValue>>) -> Self {
        let mut batch = Self {
            outcomes: Vec::with_capacity(tasks.len()),
            warnings: Vec::with_capacity(tasks.len()),
            together: Vec::new(),
            alone: Vec::new(),
        };
        for (at, task) in tasks.into_iter().enumerate() {
            let by_place = key.map(|key| key_at(key, at));
            let (outcome, warnings) = match reading.read(&task) {
                Ok((checked, own, warnings)) => {
                    match own.or(by_place) {
                        Some(key) => batch.alone.push((at, checked, key)),
                        None => batch.together.push((at, checked)),
                    }
                    (None, warnings)
                }
                Err(error) => (Some(TaskOutcome::refused(error)), Vec::new()),
            };
            batch.outcomes.push(outcome);
            batch.warnings.push(warnings);
        }
        batch
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
                }) => {
                    created.push((at, event));
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
            Err(error) => Some(ApiError::from(error)),
        };
        for (at, event) in created {
            let outcome = match &error {
                None => TaskOutcome::created(Task::created(event), false),
                Some(error) => {
                    TaskOutcome::refused(error.clone().for_unknown(event.id, Repeat::AfterLooking))
                }
            };
            self.settle(at, outcome);
        }
    }

    /// Stores the tasks with a key, each by itself: a duplicate must not refuse its neighbours.
    async fn store_alone(&mut self, accepting: &Accepting<'_>) {
        use futures::StreamExt;
        let keyed = in_lines(std::mem::take(&mut self.alone));
        let outcomes: Vec<_> = futures::stream::iter(keyed)
            .map(async |line| {
                let mut outcomes = Vec::with_capacity(line.len());
                for (at, checked, key) in line {
                    let outcome = match idempotency::create(accepting, checked, key).await {
                        Ok(outcome) => {
                            let (task, replayed) = outcome.into_parts();
                            TaskOutcome::created(task, replayed)
                        }
                        Err(error) => TaskOutcome::refused(error),
                    };
                    outcomes.push((at, outcome));
                }
                outcomes
            })
            .buffered(KEYED_AT_A_TIME)
            .collect()
            .await;
        for (at, outcome) in outcomes.into_iter().flatten() {
            self.settle(at, outcome);
        }
    }

    fn settle(&mut self, at: usize, outcome: TaskOutcome) {
        if let Some(slot) = self.outcomes.get_mut(at) {
            debug_assert!(slot.is_none(), "a task has one outcome");
            *slot = Some(outcome);
        }
    }

    fn results(self, explain: &ExplainParams) -> Vec<TaskOutcome> {
        debug_assert!(
            self.outcomes.iter().all(Option::is_some),
            "every task has an outcome"
        );
        let outcomes = self.outcomes.into_iter().flatten();
        let told = outcomes
            .zip(self.warnings)
            .map(|(outcome, warnings)| TaskOutcome {
                retries: outcome
                    .task
                    .as_ref()
                    .and_then(|task| explain.attempts(task)),
                warnings,
                ..outcome
            });
        told.collect()
    }
}
