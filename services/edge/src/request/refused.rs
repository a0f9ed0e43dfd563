//! What is refused before any route is looked at: requests that can be read in two ways, too many headers, and all but probes on a
//! connection that was only taken for probes, or while too many wait for their answers. Also the answers to what is no request at all.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::{HeaderMap, StatusCode, Version};

use super::room::Held;
use super::{RequestContext, identify_answer, secure};
use crate::config::{MAX_HEADER_BLOCK_BYTES, MAX_HEADERS};
use crate::error::{ApiError, ErrorCode};
use crate::limits::{Limiter, write_headers};

/// What the HTTP/2 specification adds to each field when it counts a header list (RFC 9113, 6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;
/// Paths that are answered on a connection for probes.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Marks requests on a connection that was only taken for probes.
#[derive(Debug, Clone, Copy)]
pub struct Crowded;

/// Why a request goes no further.
pub(super) fn refusal(request: &Request, under_way: &Held) -> Option<ApiError> {
    let headers = request.headers();
    if has_too_many(headers) {
        return Some(headers_too_large());
    }
    // Two parsers would send a request with two hosts, or with none, to different places (RFC 9112, 3.2).
    // Of HTTP/1.0 none is needed.
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some(
            ApiError::bad_request(
                ErrorCode::BadRequest,
                "The request must have one Host header",
            )
            .closing(),
        );
    }
    if PROBES.contains(&request.uri().path()) {
        return None;
    }
    let is_crowded = request.extensions().get::<Crowded>().is_some();
    if is_crowded {
        let text = "Too many connections are open; try again later";
        return Some(ApiError::unavailable(ErrorCode::Busy, text).closing());
    }
    match under_way.grow(1) {
        Ok(()) => None,
        Err(full) => Some(ApiError::unavailable(ErrorCode::Busy, full.to_string())),
    }
}

fn has_too_many(headers: &HeaderMap) -> bool {
    let block = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD_BYTES);
    // HTTP/1.1 counts its own bytes, without the overhead, and has refused what is over the limit.
    headers.len() > MAX_HEADERS
        || block.sum::<usize>() > MAX_HEADER_BLOCK_BYTES + MAX_HEADERS * FIELD_OVERHEAD_BYTES
}

fn headers_too_large() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        ErrorCode::HeadersTooLarge,
        format!(
            "The headers must have at most {MAX_HEADERS} fields and {MAX_HEADER_BLOCK_BYTES} bytes"
        ),
    )
    .closing()
}

/// Answers bytes that could not be read as a request with the body and headers of every other answer.
#[derive(Clone)]
pub struct Unread {
    limiter: Arc<Limiter>,
}

impl Unread {
    pub fn new(limiter: Arc<Limiter>) -> Self {
        Self { limiter }
    }

    /// The whole answer, head and body, for HTTP/1.1.
    pub fn answer(&self, status: StatusCode, source: IpAddr) -> Vec<u8> {
        let error = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => headers_too_large(),
            StatusCode::URI_TOO_LONG => {
                ApiError::new(status, ErrorCode::UriTooLong, "The path is too long").closing()
            }
            _ => ApiError::bad_request(ErrorCode::BadRequest, "The request is not valid HTTP")
                .closing(),
        };
        let body = serde_json::to_vec(&error.body).unwrap_or_default();
        let mut response = error.into_response();
        let context = RequestContext::of_nobody(source);
        identify_answer(response.headers_mut(), &context);
        secure(response.headers_mut());
        let unknown = || self.limiter.source_standing(source);
        let now = self.limiter.now();
        let _ = write_headers(&context.limits, unknown, now, response.headers_mut());
        metrics::counter!(
            "waybill_http_requests_total",
            "route" => super::UNMATCHED,
            "status" => response.status().as_str().to_owned(),
        )
        .increment(1);
        written(&response, &body)
    }
}

fn written(response: &Response, body: &[u8]) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        if name == http::header::CONTENT_LENGTH {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}
