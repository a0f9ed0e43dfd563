//! Event streams as HTTP responses: server-sent events, and how a stream that finds no room is refused.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

use waybill_streams::{BadParameter, NoRoom};

use crate::error::{ApiError, ErrorCode};

/// Seconds after which a slot for a stream may be free again.
const FULL_RETRY_AFTER: &str = "5";

impl From<BadParameter> for ApiError {
    fn from(bad: BadParameter) -> Self {
        Self::bad_field(bad.field, bad.message)
    }
}

/// Sends frames of server-sent events as fast as the client takes them.
pub fn event_stream(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let frames = frames.map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Proxies such as nginx would otherwise hold events back until a buffer is full.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Tells a browser's `EventSource` not to connect again: nothing more will come.
pub fn nothing_more() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 429 when the team has too many streams, 503 when the gateway has.
pub fn no_room(full: NoRoom) -> Response {
    let (status, code) = match full {
        NoRoom::Team { .. } => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyStreams),
        NoRoom::Gateway { .. } => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TooManyStreams),
    };
    let mut response = ApiError::new(status, code, full.to_string()).into_response();
    let seconds = HeaderValue::from_static(FULL_RETRY_AFTER);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_too_many_streams_is_told_by_the_status_and_when_to_return() {
        for (full, status) in [
            (NoRoom::Team { limit: 500 }, StatusCode::TOO_MANY_REQUESTS),
            (
                NoRoom::Gateway { limit: 5000 },
                StatusCode::SERVICE_UNAVAILABLE,
            ),
        ] {
            let response = no_room(full);
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[RETRY_AFTER], FULL_RETRY_AFTER);
        }
    }
}
