//! Errors as gRPC tells them: a number, a sentence, and after how many seconds to try again, where that helps.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::{ApiError, ErrorCode};

/// In the text of every quota that is used up, and of no rate: clients tell the two apart by it.
const QUOTA: &str = "limit reached";

/// Numbers of gRPC, <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
mod number {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// How a call ends that is refused or failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcStatus {
    pub number: i32,
    pub message: String,
    /// Seconds, in trailing metadata `retry-after`.
    pub retry_after_s: Option<u64>,
}

impl GrpcStatus {
    /// The status of an error.
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        let is_quota = error.status == StatusCode::TOO_MANY_REQUESTS
            && error.body.code != ErrorCode::RateLimitExceeded;
        Self {
            number: number_of(error),
            message: message_of(error, is_quota),
            retry_after_s: error.retry_after_seconds().filter(|_| !is_quota),
        }
    }

    /// An answer without messages that ends with this status.
    pub(super) fn answer(&self, mut headers: HeaderMap) -> Response {
        for name in [CONTENT_LENGTH, WWW_AUTHENTICATE, RETRY_AFTER] {
            headers.remove(name);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(HeaderName::from_static("grpc-status"), self.number.into());
        if let Ok(message) = HeaderValue::from_str(&escaped(&self.message)) {
            headers.insert(HeaderName::from_static("grpc-message"), message);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = headers;
        response
    }
}

fn number_of(error: &ApiError) -> i32 {
    match error.status {
        StatusCode::UNAUTHORIZED => number::UNAUTHENTICATED,
        StatusCode::FORBIDDEN => number::PERMISSION_DENIED,
        StatusCode::NOT_FOUND => number::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => number::UNIMPLEMENTED,
        StatusCode::REQUEST_TIMEOUT => number::DEADLINE_EXCEEDED,
        StatusCode::CONFLICT => number::FAILED_PRECONDITION,
        StatusCode::TOO_MANY_REQUESTS => number::RESOURCE_EXHAUSTED,
        StatusCode::SERVICE_UNAVAILABLE => number::UNAVAILABLE,
        status if status.is_server_error() => number::INTERNAL,
        _ => number::INVALID_ARGUMENT,
    }
}

fn message_of(error: &ApiError, is_quota: bool) -> String {
    let message = &error.body.message;
    match error.status {
        StatusCode::UNAUTHORIZED => {
            let challenge = error.challenge.as_deref().unwrap_or_default();
            let names_an_error = challenge.contains("error=");
            let text = if names_an_error {
                "Invalid API key"
            } else {
                "Missing x-api-key or authorization header"
            };
            text.to_owned()
        }
        StatusCode::CONFLICT if error.body.code == ErrorCode::LeaseLost => {
            // Clients know these two texts.
            let is_other = message.contains("does not match the job's current lease");
            let text = if is_other { message } else { "Lease expired" };
            text.to_owned()
        }
        _ if is_quota && !message.contains(QUOTA) => format!("{QUOTA}: {message}"),
        _ => message.to_string(),
    }
}

/// The answer of a layer or of the router. `has_route` says whether its path is a method.
pub(super) fn render(response: Response, has_route: bool) -> Response {
    let error = response.extensions().get::<std::sync::Arc<ApiError>>();
    let Some(error) = error.cloned() else {
        return response;
    };
    let mut status = GrpcStatus::of(&error);
    if error.status == StatusCode::NOT_FOUND && !has_route {
        status.number = number::UNIMPLEMENTED;
        status.message = "No such method".to_owned();
    }
    status.answer(response.into_parts().0.headers)
}

/// A text as gRPC writes it in a header: what is not printable ASCII, and `%`, as `%` and two digits.
fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_number_and_clients_find_their_texts() {
        let conflict = |code, text: &'static str| ApiError::conflict(code, text);
        let rate = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::RateLimitExceeded,
            "Slow down",
        );
        let quota = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::PlanLimitExceeded,
            "10 of 10",
        );
        let other = "The lease_id does not match the job's current lease";
        for (error, number, message, retry_after_s) in [
            (
                ApiError::key_required(),
                16,
                "Missing x-api-key or authorization header",
                None,
            ),
            (ApiError::key_refused(), 16, "Invalid API key", None),
            (ApiError::session_refused(), 16, "Invalid API key", None),
            (ApiError::forbidden(), 7, "Access denied", None),
            (
                ApiError::not_found("Job not found"),
                5,
                "Job not found",
                None,
            ),
            (
                conflict(ErrorCode::LeaseLost, "Job lease expired before completion"),
                9,
                "Lease expired",
                None,
            ),
            (conflict(ErrorCode::LeaseLost, other), 9, other, None),
            (
                conflict(ErrorCode::Conflict, "Job is already completed"),
                9,
                "Job is already completed",
                None,
            ),
            (rate.retry_after(7), 8, "Slow down", Some(7)),
            (quota.retry_after(7), 8, "limit reached: 10 of 10", None),
            (
                ApiError::unavailable(ErrorCode::Busy, "Busy"),
                14,
                "Busy",
                Some(1),
            ),
            (
                ApiError::too_large(1),
                3,
                "The request body must be at most 1 bytes",
                None,
            ),
            (ApiError::bad_field("a", "a: x"), 3, "a: x", None),
        ] {
            let expected = GrpcStatus {
                number,
                message: message.to_owned(),
                retry_after_s,
            };
            assert_eq!(GrpcStatus::of(&error), expected);
        }
    }

    #[test]
    fn a_message_is_escaped() {
        assert_eq!(escaped("100 % ä\n"), "100 %25 %C3%A4%0A");
    }
}
