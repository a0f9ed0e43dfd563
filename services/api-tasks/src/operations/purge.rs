//! `POST /v1/queues/{name}/purge` and `POST /v1/dead-letters/purge`: short forms of operations that purge.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_domain::id::QueueName;

use super::create::{NewAction, NewOperation, count_and_begin, create, drafted};
use super::filter::OperationFilter;
use crate::state::TasksApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksWrite;
use waybill_edge::body::{Json, OptionalJson};
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::operation::OperationEnvelope;
use waybill_edge::path::Id;

/// The statuses of dead letters.
pub(super) const LETTERS: [&str; 2] = ["failed", "timeout"];

/// How a queue is purged.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeQueue {
    /// Most tasks a second.
    #[schema(minimum = 1, maximum = 1000, default = 1000)]
    rate: Option<u32>,
    /// Why, for people: up to 500 characters.
    reason: Option<String>,
}

/// Cancel everything that waits in a queue.
///
/// This begins an operation with the action `purge` for the tasks of the queue that are `pending` or `delayed` now, at most 1,000,000. Attempts
/// that are running go on, and so does the queue: tasks that are accepted later are left alone. Pause the queue first if nothing of it may start
/// meanwhile. `POST /v1/operations/{id}/undo` takes it back for ten minutes after its end.
#[utoipa::path(
    post,
    path = "/v1/queues/{name}/purge",
    operation_id = "tasks.queue.purge",
    tag = "queues",
    security(("api_key" = ["tasks:write"])),
    params(
        ("name" = String, Path, description = "Name of the queue"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters"),
    ),
    request_body = Option<PurgeQueue>,
    responses(
        (status = 201, description = "The operation is on disk", body = OperationEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "20 operations of the team are not over (`too_many_operations`)", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
    )
)]
pub(crate) async fn purge_queue(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    headers: HeaderMap,
    Id(name): Id<QueueName>,
    OptionalJson(request): OptionalJson<PurgeQueue>,
) -> Result<Response, ApiError> {
    let filter = Some(OperationFilter::waiting_in(&name));
    let PurgeQueue { rate, reason } = request;
    let request = NewOperation::to(NewAction::Purge, filter, None, rate, reason);
    create(&state, &caller, &headers, request).await
}

/// Which dead letters: `filter` or `ids`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PurgeDeadLetters {
    /// Those that match now.
    filter: Option<OperationFilter>,
    /// Instead: these, up to 1,000.
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
    /// Most of them a second.
    #[schema(minimum = 1, maximum = 1000, default = 1000)]
    rate: Option<u32>,
    /// Why, for people: up to 500 characters.
    reason: Option<String>,
}

/// Remove many dead letters from the list of them: as `POST /v1/operations` with the action `purge`, and for nothing but dead letters.
///
/// The tasks themselves stay as they ended: they can be read and replayed, have `purgedAt`, and are no longer among the dead letters. That cannot
/// be undone.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/purge",
    operation_id = "tasks.dead_letter.purge",
    tag = "dead letters",
    security(("api_key" = ["tasks:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 printable ASCII characters")),
    request_body = PurgeDeadLetters,
    responses(
        (status = 201, description = "The operation is on disk", body = OperationEnvelope, headers(("Idempotency-Replayed" = bool, description = "`true` when an earlier request with the same `Idempotency-Key` had this answer"))),
        (status = 409, description = "20 operations of the team are not over (`too_many_operations`)", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key belongs to another request", body = ErrorBody),
    )
)]
pub(crate) async fn purge_dead_letters(
    State(state): State<TasksApi>,
    caller: Caller<TasksWrite>,
    headers: HeaderMap,
    Json(request): Json<PurgeDeadLetters>,
) -> Result<Response, ApiError> {
    let PurgeDeadLetters {
        filter,
        ids,
        rate,
        reason,
    } = request;
    let request = NewOperation::to(NewAction::Purge, filter, ids, rate, reason);
    let mut draft = drafted(&state, &caller, &headers, request).await?;
    let statuses = draft
        .filter
        .entry("status".to_owned())
        .or_insert_with(|| LETTERS.map(str::to_owned).to_vec());
    if let Some(other) = statuses
        .iter()
        .find(|status| !LETTERS.contains(&status.as_str()))
    {
        return Err(ApiError::bad_field(
            "filter.status",
            format!(
                "filter.status: only dead letters can be purged here: {}; not {other}",
                LETTERS.join(", ")
            ),
        ));
    }
    count_and_begin(&state, &caller, draft).await
}
