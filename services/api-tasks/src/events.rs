//! `GET /v1/events`: everything that happens to the tasks of a team.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;

use crate::parameters::{StreamParameters, end_behind, warned};
use crate::state::TasksApi;
use crate::stream_token::StreamReader;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::lenient::unknown_parameters;
use waybill_edge::sse::{event_stream, no_room};
use waybill_edge::warnings::Handling;
use waybill_streams::{Subscription, TaskEventView};

const PARAMETERS: [&str; 6] = ["after", "queue", "type", "status", "ok", "access_token"];

/// Follow the events of all tasks of the team.
///
/// Server-sent events, live and without end. `id` is a position in the log, `event` says what happened (`task.created`,
/// `task.started`, `task.attempt_failed`, `task.released`, `task.succeeded`, `task.dead`, `task.run_requested`, `task.cancel_requested`, `task.cancelled`, `task.expired`,
/// `task.callback_sent`, `task.callback_failed`), `data` is a TaskEvent. Bodies and headers are in no event.
///
/// Without `after` the stream begins now. With `after`, or the header `Last-Event-ID` that browsers send by themselves, it begins
/// right after that event: every later event that matches comes exactly once, in order, whichever gateway answers. When
/// retention has already dropped some of them, an event `gap` says so first: `{"after", "firstAvailable"}`.
///
/// A comment every 15 seconds keeps the connection alive, with an `id` of its own that moves the place to resume from. A reader that
/// does not keep up is disconnected after a comment `resume after=<id>`; so are all readers when the gateway stops or the key is
/// revoked. Unknown parameters are ignored; the header `Waybill-Warnings` names them, and `Prefer: handling=strict` refuses them.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "tasks.event.stream_all",
    tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "Begin right after the event with this id. 0: from the oldest that is kept"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; takes precedence over `after`"),
        ("queue" = Option<String>, Query, description = "Only these queues, separated by commas"),
        ("type" = Option<String>, Query, description = "Only these events, separated by commas, such as `task.succeeded,task.dead`"),
        ("access_token" = Option<String>, Query, description = "A token of `POST /v1/events/stream-token`, instead of a key in a header. The token decides about queues, types, statuses and `ok`"),
        ("status" = Option<String>, Query, description = "Only events that leave the task in one of these statuses, separated by commas"),
        ("ok" = Option<bool>, Query, description = "Only events that end a task: with success (`true`) or without (`false`)"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = TaskEventView),
        (status = 429, description = "The team has too many open streams", body = ErrorBody),
        (status = 503, description = "The log is unavailable, or the gateway has too many open streams", body = ErrorBody),
    ),
    security(("api_key" = ["tasks:read"]))
)]
pub(crate) async fn team_events(
    reader: StreamReader,
    State(state): State<TasksApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = query.unwrap_or_default();
    let given = StreamParameters::read(&query, &headers)?;
    let warnings = unknown_parameters(&query, &PARAMETERS).judge(Handling::of(&headers))?;
    let filter = reader.filter(&given)?;
    let slot = match state.hub.take_slot(reader.team()) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let end = end_behind(&state, given.after.unwrap_or_default()).await?;
    let after = given.after.unwrap_or(end);
    let valid = reader.still_valid(&state);
    let hub = Arc::clone(&state.hub);
    let mut subscription = Subscription::new(hub, filter, after, None, slot, valid);
    if after == end {
        subscription = subscription.at_the_end();
    }
    Ok(warned(event_stream(subscription.into_stream()), &warnings))
}
