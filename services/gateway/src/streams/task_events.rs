//! `GET /v1/tasks/{id}/events`: the life of one task, from its creation to its end.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use waybill_domain::id::TaskId;
use waybill_domain::seq::StreamSeq;
use waybill_log::Stream;
use waybill_projector::query::{GetTask, Position};

use super::events::still_valid;
use super::filter::EventFilter;
use super::params::{StreamParameters, within};
use super::response::{event_stream, no_room, nothing_more};
use super::subscription::{Remainder, Subscription};
use super::view::TaskEventView;
use crate::auth::Caller;
use crate::auth::needs::TasksRead;
use crate::error::{ApiError, ErrorBody};
use crate::faces::tasks::lookup::own_task;
use crate::state::AppState;

/// Follow the events of one task, from its creation to its end.
///
/// The same events as at `/v1/events`, but from the creation of the task on (or right after `after`), and not without end: after the
/// terminal event, and after the completion webhook was delivered or given up where the task has one, comes an event `end`
/// and the stream closes. Close the client then: a browser would connect again, and is answered 204, which ends that.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/events",
    tag = "events",
    params(
        ("id" = String, Path, description = "The task"),
        ("after" = Option<u64>, Query, description = "Begin right after the event with this id, not with the creation"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; goes before `after`"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = TaskEventView),
        (status = 204, description = "Nothing comes after `after`, and nothing more will: do not connect again"),
        (status = 400, description = "A parameter does not do", body = ErrorBody),
        (status = 401, description = "No key, or none that is accepted", body = ErrorBody),
        (status = 403, description = "Another team's task, or the key lacks the scope", body = ErrorBody),
        (status = 404, description = "No such task", body = ErrorBody),
        (status = 429, description = "The team has too many open streams", body = ErrorBody),
        (status = 503, description = "The log or the read model is unavailable, or the gateway has too many open streams", body = ErrorBody),
    ),
    security(("api_key" = ["tasks:read"]))
)]
pub(super) async fn task_events(
    caller: Caller<TasksRead>,
    State(state): State<AppState>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let not_found = || ApiError::not_found("Task not found");
    let task = TaskId::parse(&id).map_err(|_| not_found())?;
    let given = StreamParameters::read(query.as_deref().unwrap_or_default(), &headers)?;
    let bounds = state.log.bounds(Stream::Tasks).await?;
    let after = given
        .after
        .map(|after| within(after, bounds.last))
        .transpose()?;
    let wanted = GetTask {
        id: task,
        team: None,
        detail: false,
    };
    // Read at least as far as the client has: the row then says whether anything is left to come.
    let seen = Position::tasks(after.unwrap_or(StreamSeq(0)));
    let found = state.queries.ask(wanted, seen).await?.value;
    let row = found.ok_or_else(not_found)?.row;
    own_task(&row.team, &caller.team)?;
    let before_creation = StreamSeq(row.created_seq.0.saturating_sub(1));
    let after = after.unwrap_or(before_creation).max(before_creation);
    let remainder = Remainder::of(&row, after);
    if remainder.is_empty() {
        return Ok(nothing_more());
    }
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let filter = EventFilter::task(row.team, task, Some(row.queue));
    let valid = still_valid(&state, &caller);
    let hub = Arc::clone(&state.hub);
    let subscription = Subscription::new(hub, filter, after, Some(remainder), slot, valid);
    Ok(event_stream(subscription))
}
