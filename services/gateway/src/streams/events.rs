//! `GET /v1/events`: everything that happens to the tasks of a team.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use waybill_log::Stream;

use super::filter::EventFilter;
use super::params::{StreamParameters, within};
use super::response::{event_stream, no_room};
use super::subscription::{StillValid, Subscription};
use super::view::TaskEventView;
use crate::auth::Caller;
use crate::auth::needs::TasksRead;
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// Follow the events of all tasks of the team.
///
/// Server-sent events, live and without end. `id` is a position in the log, `event` says what happened (`task.created`,
/// `task.started`, `task.attempt_failed`, `task.released`, `task.succeeded`, `task.dead`, `task.cancelled`, `task.expired`,
/// `task.callback_sent`, `task.callback_failed`), `data` is a TaskEvent. Bodies and headers are in no event.
///
/// Without `after` the stream begins now. With `after`, or the header `Last-Event-ID` that browsers send by themselves, it begins
/// right after that event: every later event that matches comes exactly once, in order, whichever gateway answers. When
/// retention has already dropped some of them, an event `gap` says so first: `{"after", "firstAvailable"}`.
///
/// A comment every 15 seconds keeps the connection alive, with an `id` of its own that moves the place to resume from. A reader that
/// does not keep up is disconnected after a comment `resume after=<id>`; so are all readers when the gateway stops or the key is
/// revoked.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(
        ("after" = Option<u64>, Query, description = "Begin right after the event with this id. 0: from the oldest that is kept"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same; goes before `after`"),
        ("queue" = Option<String>, Query, description = "Only these queues, by commas"),
        ("type" = Option<String>, Query, description = "Only these events, by commas, such as `task.succeeded,task.dead`"),
        ("status" = Option<String>, Query, description = "Only events that leave the task in one of these statuses, by commas"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = TaskEventView),
        (status = 400, description = "A parameter does not do", body = ErrorBody),
        (status = 401, description = "No key, or none that is accepted", body = ErrorBody),
        (status = 403, description = "The key lacks the scope", body = ErrorBody),
        (status = 429, description = "The team has too many open streams", body = ErrorBody),
        (status = 503, description = "The log is unavailable, or the gateway has too many open streams", body = ErrorBody),
    ),
    security(("api_key" = ["tasks:read"]))
)]
pub(super) async fn team_events(
    caller: Caller<TasksRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let given = StreamParameters::read(query.as_deref().unwrap_or_default(), &headers)?;
    let filter = EventFilter::team(caller.team.clone()).narrowed(
        &given.queues,
        &given.types,
        &given.statuses,
    )?;
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let bounds = state.log.bounds(Stream::Tasks).await?;
    let after = given
        .after
        .map_or(Ok(bounds.last), |after| within(after, bounds.last))?;
    let valid = still_valid(&state, &caller);
    let hub = Arc::clone(&state.hub);
    let mut subscription = Subscription::new(hub, filter, after, None, slot, valid);
    if after == bounds.last {
        subscription = subscription.at_the_end();
    }
    Ok(event_stream(subscription))
}

/// Asks the hot copy, so that a stream ends once its credential does.
pub(crate) fn still_valid<N>(state: &AppState, caller: &Caller<N>) -> StillValid {
    let (state, principal, team) = (state.clone(), caller.principal.clone(), caller.team.clone());
    Box::new(move || state.fence.may_decide().is_ok() && state.auth.stands(&principal, &team))
}
