//! A target for first tries, on this machine only: whoever has nothing that could be called yet sees calls, webhooks, failures and retries.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use waybill_edge::error::ApiError;
use waybill_edge::query::Query;

/// The number of the attempt, as every call of a worker has it.
const ATTEMPT: &str = "waybill-attempt";

/// How it answers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SinkParams {
    /// So many attempts of each task fail before one succeeds.
    fail: Option<u32>,
}

/// Takes whatever comes and keeps nothing: 503 to the first `fail` attempts, else 200, with what it saw.
pub(crate) async fn sink(
    method: Method,
    headers: HeaderMap,
    Query(params): Query<SinkParams>,
) -> Result<Response, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let attempt = text(ATTEMPT).and_then(|text| text.parse::<u32>().ok());
    let attempt = attempt.unwrap_or(1);
    let status = if attempt <= params.fail.unwrap_or(0) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let seen = json!({
        "received": {
            "method": method.as_str(),
            "attempt": attempt,
            "contentType": text(CONTENT_TYPE.as_str()),
        }
    });
    Ok((status, Json(seen)).into_response())
}
