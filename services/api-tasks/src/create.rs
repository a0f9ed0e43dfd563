//! `POST /v1/tasks`: a task that is answered with 201 is on disk.

use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use waybill_domain::task::retry_plan::RetryTerms;

use super::accept::{Accepting, count_accepted, limits};
use super::explain::{ExplainParams, warn_of_retries};
use super::idempotency::{self, Outcome};
use super::object::TaskEnvelope;
use super::rejected::refuse_duplicate;
use super::request::CreateTask;
use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksWrite};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::idempotency::key as request_key;
use waybill_edge::lenient::{LenientJson, LenientQuery};
use waybill_edge::request::RequestContext;
use waybill_edge::warnings::Handling;

/// Marks an answer that repeats an earlier one.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Create a task.
///
/// With an `Idempotency-Key`, repeating the request answers with the first task and `Idempotency-Replayed: true`. Credentials in its
/// headers are not compared, since nothing of them is kept that could be.
///
/// Unknown members and parameters are ignored, and `warnings` names them, with the one that was probably meant. It also warns of retries
/// that cannot be made before the task ends. `Prefer: handling=strict` refuses such a request instead.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    operation_id = "tasks.task.create",
    tag = "tasks",
    security(("api_key" = ["tasks:write"])),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
        ("Prefer" = Option<String>, Header, description = "`handling=strict`: what would be a warning is refused with 400"),
        ExplainParams,
    ),
    request_body = CreateTask,
    responses(
        (status = 201, description = "Accepted: it is on disk", body = TaskEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "`duplicate_task`: with `onDuplicate: reject`, and `taskId` is the other one", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
        (status = 503, description = "Not accepted (`log_full`: the log has no room), or accepted without a confirmation (`outcome_unknown`); see `code` and `Retry-After`", body = ErrorBody),
    )
)]
pub(crate) async fn create_task(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<TasksWrite>>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    LenientQuery(explain, in_query): LenientQuery<ExplainParams>,
    LenientJson(request, in_body): LenientJson<CreateTask>,
) -> Result<Response, ApiError> {
    caller.needs_api()?;
    let start = Instant::now();
    let key = request_key(&headers)?;
    let accepting = Accepting::new(&state, &caller, &context);
    let checked = accepting.check(request, &limits(&state, &caller))?;
    let terms = RetryTerms::of(&checked.spec, entropy::now());
    let rejects = checked.spec.rejects_duplicates();
    let handling = Handling::of(&headers);
    let warnings = warn_of_retries(in_query.and(in_body), &terms, handling)?;
    let outcome = match key {
        None => Outcome::First(accepting.keyless(checked).await?),
        Some(key) => idempotency::create(&accepting, checked, key).await?,
    };
    if let Outcome::First(_) = outcome {
        count_accepted(1, start);
    }
    let (task, replayed) = outcome.into_parts();
    if rejects {
        refuse_duplicate(&accepting, &task.id).await?;
    }
    let envelope = TaskEnvelope {
        retries: explain.attempts(&task),
        task,
        warnings,
    };
    Ok(answer(envelope, replayed))
}

/// 201 with a task that was created now or, `replayed`, by an earlier request.
#[must_use]
pub fn answer(envelope: TaskEnvelope, replayed: bool) -> Response {
    let mut response = (StatusCode::CREATED, axum::Json(envelope)).into_response();
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
