//! A subscription as an HTTP response.

use std::convert::Infallible;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::Stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};

use super::feed::Feed;
use super::slots::NoRoom;
use super::subscription::Subscription;
use crate::error::ApiError;

/// Seconds after which a stream may be free again.
const FULL_RETRY_AFTER: &str = "5";

/// Sends what the subscription yields, as fast as the client takes it.
pub(super) fn event_stream(subscription: Subscription) -> Response {
    response_of(futures::stream::unfold(
        subscription,
        |mut subscription| async move {
            let chunk = subscription.next().await?;
            Some((Ok(chunk), subscription))
        },
    ))
}

/// The same of a feed.
pub(super) fn activity_stream(feed: Feed) -> Response {
    response_of(futures::stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((Ok(chunk), feed))
    }))
}

fn response_of(frames: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
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
pub(super) fn nothing_more() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 429 when the team has too many streams, 503 when the gateway has.
pub(super) fn no_room(full: NoRoom) -> Response {
    let (status, code) = match full {
        NoRoom::Team { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_streams"),
        NoRoom::Gateway { .. } => (StatusCode::SERVICE_UNAVAILABLE, "too_many_streams"),
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
