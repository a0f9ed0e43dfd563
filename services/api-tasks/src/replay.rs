//! `POST /v1/tasks/{id}/replay`: an ended task is done again, as a new task.
//!
//! The request is read from the log, where it stands as it was accepted. What the client gives replaces the same members, and the result
//! goes the way of every other creation: the same checks, limits and defaults, and the same idempotency keys.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use waybill_domain::event::{Standing, TaskCreated, TaskEvent};
use waybill_domain::id::TaskId;
use waybill_domain::task::retry_plan::RetryTerms;
use waybill_domain::task::spec::MAX_COUNTED_ATTEMPTS;
use waybill_domain::task::{JobTerms, Method, TaskRow};
use waybill_log::{Stream, StreamSeq, TaskRecord, task_record};

use super::accept::{Accepting, count_accepted, limits};
use super::create::answer;
use super::explain::{ExplainParams, warn_of_retries};
use super::idempotency::{self, Outcome};
use super::lookup;
use super::object::TaskEnvelope;
use super::request::CreateTask;
use super::request::again::ReplayTask;
use crate::credentials::Checked;
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::lenient::{LenientQuery, OptionalLenientJson};
use waybill_edge::path::Id;
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Do an ended task again.
///
/// Makes a new task with the same request, which is linked both ways: `replayOf` of the new one, `replayedAs` of the old one. The body
/// of the request is optional; a member of it replaces that of the old task, `headers` all of its headers. `delayUntil` and `deadline` are
/// not taken over, nor are `debounce` and `dedup`. Members that say the same thing are replaced together: `body` and `json`, `timeout` and `maxWaitTime`, `deadline` and
/// `expiresIn`; a new `retryBackoff` also replaces `maxRetries`, `minDelay` and `maxDelay`.
///
/// Each request makes a task, unless it repeats one with the same `Idempotency-Key`.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/replay",
    operation_id = "tasks.task.replay",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(
        ("id" = String, Path, description = "Id of the ended task"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
        ExplainParams,
    ),
    request_body = Option<ReplayTask>,
    responses(
        (status = 201, description = "Accepted: the new task is on disk", body = TaskEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 409, description = "The task has not ended (`not_ended`), or its credentials are gone and `headers` are not given (`credentials_gone`), or it takes over results of its workflow (`conflict`)", body = ErrorBody),
        (status = 410, description = "The request of the task is no longer in the log (`request_gone`)", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`); see `code` and `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn replay_task(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    Id(id): Id<TaskId>,
    LenientQuery(explain, in_query): LenientQuery<ExplainParams>,
    OptionalLenientJson(overrides, in_body): OptionalLenientJson<CreateTask>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let key = request_key(&headers)?;
    let row = lookup::find_row(
        &state,
        &caller.team,
        id,
        state.acknowledged.to(&caller.team),
    )
    .await?;
    let accepting = Accepting::new(&state, &caller, &context);
    let limits = limits(&state, &caller);
    let checked = again(&accepting, &row, overrides, &limits).await?;
    let terms = RetryTerms::of(&checked.spec, entropy::now());
    let warnings = warn_of_retries(in_query.and(in_body), &terms, Handling::of(&headers))?;
    let outcome = match key {
        None => Outcome::First(accepting.keyless(checked).await?),
        Some(key) => idempotency::create(&accepting, checked, key).await?,
    };
    if let Outcome::First(_) = outcome {
        count_accepted(1, start);
    }
    let (task, replayed) = outcome.into_parts();
    let envelope = TaskEnvelope {
        retries: explain.attempts(&task),
        task,
        warnings,
    };
    Ok(answer(envelope, replayed))
}

/// The checked request of a task that does an ended one again, by itself.
pub async fn again(
    accepting: &Accepting<'_>,
    row: &TaskRow,
    overrides: CreateTask,
    limits: &waybill_domain::task::Limits,
) -> Result<Checked, ApiError> {
    let member = row.member.as_deref();
    if member.is_some_and(|member| !member.places.is_empty() || !member.given.is_empty()) {
        return Err(ApiError::conflict(
            ErrorCode::Conflict,
            "The task takes over results of other tasks of its workflow; retry the workflow instead",
        ));
    }
    again_in_its_place(accepting, row, overrides, limits).await
}

/// The same of one that takes the place of the ended one in its workflow.
pub async fn again_in_its_place(
    accepting: &Accepting<'_>,
    row: &TaskRow,
    overrides: CreateTask,
    limits: &waybill_domain::task::Limits,
) -> Result<Checked, ApiError> {
    if !row.status.is_terminal() {
        return Err(ApiError::conflict(
            ErrorCode::NotEnded,
            format!("The task has not ended (current: {})", row.status),
        ));
    }
    let mut old = stored(accepting.state, row).await?.ok_or_else(|| {
        ApiError::new(
            StatusCode::GONE,
            ErrorCode::RequestGone,
            "The request of the task is no longer in the log",
        )
    })?;
    if !overrides.replaces_credentials_of(&old) {
        return Err(ApiError::conflict(
            ErrorCode::CredentialsGone,
            "The credentials in the task's headers were erased when it ended; give headers with new ones",
        )
        .about("headers"));
    }
    // It may have been changed since it was accepted.
    old.priority = row.priority;
    let has_priority = overrides.priority.is_some();
    let has_retries = overrides.max_retries.is_some()
        || overrides.max_attempts.is_some()
        || overrides.retry_backoff.is_some();
    // Pauses of a queue of jobs may be shorter and more than a request can ask for.
    let keeps_pauses = overrides.retry_backoff.is_none();
    let own_pauses = std::mem::take(&mut old.retry_pauses);
    // The native API has fewer of both.
    let retries = old.max_retries;
    old.max_retries = retries.min(MAX_COUNTED_ATTEMPTS - 1);
    let job = old.job.take();
    let mut checked = accepting.check_as_given(overrides.or_as(old), limits)?;
    checked.spec.replay_of = Some(row.id);
    if keeps_pauses {
        checked.spec.retry_pauses = own_pauses;
    }
    checked.spec.job = job.map(|job| {
        // It is another job.
        Box::new(JobTerms { root: None, ..*job })
    });
    if !has_priority {
        checked.spec.priority = row.priority;
    }
    if !has_retries {
        checked.spec.max_retries = retries;
    }
    Ok(checked)
}

/// Lets the job of an ended task go on as the one that does it again.
pub fn go_on(checked: &mut Checked, row: &TaskRow) {
    if row.is_pulled() {
        let job = checked.spec.job.get_or_insert_default();
        job.root = Some(row.job_root());
    }
}

/// The request as accepted, if the log has all of it: in the creation, or in a restatement that left nothing out.
async fn stored(state: &TasksApi, row: &TaskRow) -> Result<Option<TaskCreated>, ApiError> {
    if let Some(TaskEvent::Created(created)) = read(state, row.created_seq, row).await? {
        return Ok(Some(*created));
    }
    if row.stored_seq == row.created_seq {
        return Ok(None);
    }
    Ok(match read(state, row.stored_seq, row).await? {
        // Of an ended task, only what its webhook needs.
        Some(TaskEvent::Restated(restated))
            if !matches!(restated.standing, Standing::Ended { .. }) =>
        {
            Some(restated.created)
        }
        Some(TaskEvent::Restated(restated)) if restated.blocks.is_some() => whole(restated.created),
        Some(TaskEvent::CallbackRequested(requested)) => whole(requested.created),
        _ => None,
    })
}

/// A request of which a large body is left out; where there may have been one, nothing is made up.
fn whole(created: TaskCreated) -> Option<TaskCreated> {
    let has_body = matches!(created.method, Method::Post | Method::Put | Method::Patch);
    Some(created).filter(|created| created.body.is_some() || !has_body)
}

async fn read(
    state: &TasksApi,
    seq: StreamSeq,
    row: &TaskRow,
) -> Result<Option<TaskEvent>, ApiError> {
    let Some(record) = state.log.read(Stream::Tasks, seq).await? else {
        return Ok(None);
    };
    Ok(match task_record(&record) {
        Ok(TaskRecord::Event(event)) if event.id() == row.id => Some(event),
        // A record that does not count is treated like a purged one.
        Ok(_) | Err(_) => None,
    })
}
