//! `GET /v1/tasks/{id}/events`: the life of one task, from its creation to its end.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use waybill_domain::id::TaskId;
use waybill_domain::seq::StreamSeq;

use crate::lookup;
use crate::parameters::{StreamParameters, end_behind, warned};
use crate::state::TasksApi;
use crate::stream_token::StreamReader;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::unknown_parameters;
use waybill_edge::path::Id;
use waybill_edge::sse::{event_stream, no_room, nothing_more};
use waybill_edge::warnings::Handling;
use waybill_streams::{EventFilter, Remainder, Subscription, TaskEventView};

const PARAMETERS: [&str; 2] = ["after", "access_token"];

/// Follow the events of one task, from its creation to its end.
///
/// The same events as at `/v1/events`, but from the creation of the task on (or right after `after`), and not without end: after the
/// terminal event, and after the completion webhook was delivered or given up where the task has one, comes an event `end`
/// and the stream closes. Close the client then: a browser would connect again, and is answered 204, which ends that. Unknown
/// parameters are ignored; the header `Waybill-Warnings` names them, and `Prefer: handling=strict` refuses them.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/events",
    operation_id = "tasks.event.stream",
    tag = "events",
    params(
        ("id" = String, Path, description = "The task"),
        ("after" = Option<u64>, Query, description = "Begin right after the event with this id, not with the creation"),
        ("access_token" = Option<String>, Query, description = "A token of `POST /v1/tasks/{id}/stream-token`, instead of a key in a header"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; takes precedence over `after`"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = TaskEventView),
        (status = 204, description = "There is no event after `after`, and none will come: do not connect again"),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 429, description = "The team has too many open streams", body = ErrorBody),
        (status = 503, description = "The log or the read model is unavailable, or the gateway has too many open streams", body = ErrorBody),
    ),
    security(("api_key" = ["tasks:read"]))
)]
pub(crate) async fn task_events(
    reader: StreamReader,
    State(state): State<TasksApi>,
    Id(task): Id<TaskId>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    reader.may_follow(task)?;
    let query = query.unwrap_or_default();
    let given = StreamParameters::read(&query, &headers)?;
    let warnings = unknown_parameters(&query, &PARAMETERS).judge(Handling::of(&headers))?;
    if let Some(after) = given.after {
        end_behind(&state, after).await?;
    }
    // Read at least as far as the client has: the row then says whether anything is left to come.
    let seen = given.after.unwrap_or(StreamSeq(0));
    let row = lookup::find_row(&state, reader.team(), task, seen).await?;
    reader.may_read(&row.queue)?;
    let before_creation = StreamSeq(row.created_seq.0.saturating_sub(1));
    let after = given.after.unwrap_or(before_creation).max(before_creation);
    let remainder = Remainder::of(&row, after);
    if remainder.is_empty() {
        return Ok(nothing_more());
    }
    let slot = match state.hub.take_slot(reader.team()) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let filter = EventFilter::task(row.team, task, Some(row.queue));
    let valid = reader.still_valid(&state);
    let hub = Arc::clone(&state.hub);
    let subscription = Subscription::new(hub, filter, after, Some(remainder), slot, valid);
    Ok(warned(event_stream(subscription.into_stream()), &warnings))
}
