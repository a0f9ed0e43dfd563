//! `GET /v1/activity/stream`: who does what in a team, as it happens.

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;
use waybill_log::StreamSeq;
use waybill_projector::query::Position;

use crate::entry::ActivityEntry;
use crate::feed::{Feed, FeedQuery};
use crate::list::ends;
use crate::parameters::{FILTERS, FilterParameters, QueryParameters};
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::sse::{event_stream, no_room};
use waybill_edge::standing::still_valid;

const AFTER: &str = "after";
const LAST_EVENT_ID: &str = "last-event-id";

/// Follow what people and credentials do.
///
/// Server-sent events, live and without end: the entries of `GET /v1/activity`, but of tasks only what a key, an application or a person
/// caused. `event` is the entry's `type`, `data` the entry, `id` a position in both logs, such as `812-48120`.
///
/// Without `after` the stream begins now. With `after`, or the header `Last-Event-ID` that browsers send by themselves, it begins right
/// after that event: every later entry that matches comes exactly once, those of one log in its order, whichever gateway answers. When
/// retention has already dropped some of the tasks' events, an event `gap` says so first.
///
/// A comment every 15 seconds keeps the connection alive, with an `id` of its own that moves the place to resume from. The stream ends
/// after a comment `resume after=<id>` when the gateway stops, and within a second when the credential ends.
#[utoipa::path(
    get,
    path = "/v1/activity/stream",
    operation_id = "activity.event.stream",
    tag = "activity",
    params(
        FilterParameters,
        ("after" = Option<String>, Query, description = "Begin right after the event with this id. `0-0`: from the oldest that is kept. A position, where the list takes a time; there is no `before`"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same; takes precedence over `after`"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = ActivityEntry),
        (status = 429, description = "The team has too many open streams", body = ErrorBody),
        (status = 503, description = "The log is unavailable, or the gateway has too many open streams", body = ErrorBody),
    ),
    security(("api_key" = ["activity:read"]))
)]
pub(crate) async fn follow_activity(
    caller: Caller<ActivityRead>,
    State(state): State<ActivityApi>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let given = QueryParameters::read(query.as_deref(), &[&FILTERS, &[AFTER]])?;
    let filter = given.filter()?;
    let last_id = headers.get(LAST_EVENT_ID);
    let last_id = last_id.map(|id| String::from_utf8_lossy(id.as_bytes()));
    let resume = match last_id.as_deref().map(str::trim) {
        Some(id) if !id.is_empty() => Some(position("Last-Event-ID", id)?),
        _ => given
            .text(AFTER)
            .map(|id| position(AFTER, id))
            .transpose()?,
    };
    let slot = match state.hub.take_slot(&caller.team) {
        Ok(slot) => slot,
        Err(full) => return Ok(no_room(full)),
    };
    let ends = ends(&state).await?;
    let after = resume.unwrap_or(ends);
    if !ends.covers(after) {
        let message = format!(
            "after must be at most {}, the last position of the logs, not {}",
            id(ends),
            id(after)
        );
        return Err(ApiError::bad_field(AFTER, message));
    }
    let query = FeedQuery {
        team: caller.team.clone(),
        filter,
        after,
    };
    let valid = still_valid(&state, &caller);
    Ok(event_stream(
        Feed::new(state, query, ends, slot, valid)?.into_stream(),
    ))
}

/// A position in both logs as clients see it.
pub(crate) fn id(position: Position) -> String {
    format!("{}-{}", position.control, position.tasks)
}

/// Reads what [`id`] writes.
fn position(field: &'static str, text: &str) -> Result<Position, ApiError> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).map(StreamSeq)
    };
    let read = text.split_once('-').and_then(|(control, tasks)| {
        Some(Position {
            control: number(control)?,
            tasks: number(tasks)?,
        })
    });
    read.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let message = format!(
            "{field} must be the id of an event of this stream, such as 812-48120, not {shown:?}"
        );
        ApiError::bad_field(field, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let at = Position {
            control: StreamSeq(812),
            tasks: StreamSeq(48_120),
        };
        assert_eq!(id(at), "812-48120");
        assert_eq!(position(AFTER, &id(at)).expect("fine"), at);
        for bad in [
            "",
            "812",
            "812-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-x",
            "99999999999999999999-1",
        ] {
            assert!(position(AFTER, bad).is_err(), "{bad}");
        }
    }
}
