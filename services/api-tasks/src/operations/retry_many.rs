//! `POST /v1/dead-letters/retry`: many dead letters are tried again, by an operation.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create::{NewAction, NewOperation, create};
use super::filter::OperationFilter;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::operation::OperationEnvelope;

/// Which dead letters: `filter` or `ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RetryDeadLetters {
    /// Those that match now.
    filter: Option<OperationFilter>,
    /// Instead: these, up to 1,000.
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
    /// Most tasks a second.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    rate: Option<u32>,
    /// Why, for people: up to 500 characters.
    reason: Option<String>,
}

/// Try many dead letters again: the same as `POST /v1/operations` with the action `retry`.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/retry",
    operation_id = "tasks.dead_letter.retry_many",
    tag = "dead letters",
    security(("api_key" = ["tasks:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = RetryDeadLetters,
    responses(
        (status = 201, description = "The operation is on disk", body = OperationEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "20 operations of the team are not over (`too_many_operations`)", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
    )
)]
pub(crate) async fn retry_dead_letters(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    headers: HeaderMap,
    Json(request): Json<RetryDeadLetters>,
) -> Result<Response, ApiError> {
    let RetryDeadLetters {
        filter,
        ids,
        rate,
        reason,
    } = request;
    let request = NewOperation::to(NewAction::Retry, filter, ids, rate, reason);
    create(&state, &caller, &headers, request).await
}
