//! Which API's errors a request gets: decided by the beginning of its path, whatever refused it.
//!
//! Handlers and layers all refuse with an [`ApiError`], which is rendered for the native API. The layer around all routes gives it the
//! body of the API that the path belongs to.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use waybill_domain::access::limit::headers::RateLimitFields;
use waybill_domain::access::plan::PolicyScope;

use super::{ApiError, ErrorCode, grpc};

/// The version of the jobs API, which its clients may ask for.
const VERSION: HeaderName = HeaderName::from_static("x-api-version");
/// For whom the policy counts that the other fields of the rate are about.
const SCOPE: HeaderName = HeaderName::from_static("x-ratelimit-scope");

/// The body of every error of the jobs API. Some codes have members beside these.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsErrorBody {
    /// A stable word for programs, such as `VALIDATION_ERROR`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Of `VALIDATION_ERROR`: which fields are wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<JobsErrorDetail>>,
}

/// A field that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobsErrorDetail {
    pub field: String,
    pub message: String,
    /// The kind of rule: `length`, `range`, `pattern`, `required`, `type`, `unsupported` or `invalid`.
    pub code: String,
}

/// How an API writes its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `{"error", "message", "code", "field"?}`
    Native,
    /// `{"code", "message", "details"?}`, with codes in capitals.
    Jobs,
    /// A status of gRPC, and no body.
    Grpc,
}

/// The beginnings of paths whose errors are not native.
const PREFIXES: [(&str, Dialect); 6] = [
    ("/api/v1", Dialect::Jobs),
    ("/spooled.v1.QueueService", Dialect::Grpc),
    ("/spooled.v1.WorkerService", Dialect::Grpc),
    ("/grpc.health.v1.Health", Dialect::Grpc),
    ("/grpc.reflection.v1.ServerReflection", Dialect::Grpc),
    ("/grpc.reflection.v1alpha.ServerReflection", Dialect::Grpc),
];

impl Dialect {
    /// That of a path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let is_below = |prefix: &str| {
            let rest = path.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let known = PREFIXES.iter().find(|(prefix, _)| is_below(prefix));
        known.map_or(Self::Native, |(_, dialect)| *dialect)
    }

    /// The answer as that API gives it. `has_route` says whether its path is one, `rate` where the caller stands.
    #[must_use]
    pub fn render(
        self,
        response: Response,
        has_route: bool,
        rate: &RateLimitFields,
        asked_version: Option<&HeaderValue>,
    ) -> Response {
        match self {
            Self::Native => response,
            Self::Grpc => grpc::render(response, has_route),
            Self::Jobs => {
                let mut response = of_jobs(response, has_route, rate);
                let headers = response.headers_mut();
                headers.insert(SCOPE, HeaderValue::from_static(scope(rate)));
                if asked_version.is_some_and(|version| version == "1") {
                    headers.insert(VERSION, HeaderValue::from_static("1"));
                }
                response
            }
        }
    }
}

fn scope(rate: &RateLimitFields) -> &'static str {
    match rate.scope {
        Some(PolicyScope::Key) => "api_key",
        Some(PolicyScope::Ip | PolicyScope::Account | PolicyScope::AccountNetwork) => "ip",
        Some(PolicyScope::Team) | None => "organization",
    }
}

fn of_jobs(response: Response, has_route: bool, rate: &RateLimitFields) -> Response {
    let Some(error) = response.extensions().get::<Arc<ApiError>>() else {
        return response;
    };
    let body = body_of_jobs(error, has_route, rate);
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = axum::Json(body).into_response().into_body();
    Response::from_parts(parts, body)
}

fn body_of_jobs(error: &ApiError, has_route: bool, rate: &RateLimitFields) -> Value {
    let code = code_of_jobs(error);
    let plain = JobsErrorBody {
        code: code.to_owned(),
        message: error.body.message.to_string(),
        details: None,
    };
    let mut body = serde_json::to_value(plain).unwrap_or_default();
    if error.status == StatusCode::NOT_FOUND && !has_route {
        body["message"] = json!("No route matches this path");
    }
    match code {
        "VALIDATION_ERROR" => {
            if let Some(field) = &error.body.field {
                let message = &error.body.message;
                let text = message.strip_prefix(&**field).unwrap_or(message);
                let text = text.trim_start_matches([':', ' ']);
                let rule = error.rule.unwrap_or("invalid");
                body["message"] = json!(format!("{field}: {text}"));
                body["details"] = json!([JobsErrorDetail {
                    field: field.to_string(),
                    message: text.to_owned(),
                    code: rule.to_owned(),
                }]);
            }
        }
        "RATE_LIMIT_EXCEEDED" => {
            body["error"] = json!("Rate limit exceeded");
            body["retry_after_secs"] = json!(error.retry_after_seconds().unwrap_or(1).max(1));
            body["limit"] = json!(rate.limit);
            body["remaining"] = json!(0);
            body["reset_at"] = json!(rate.reset);
        }
        "QUOTA_EXCEEDED" => body["error"] = json!("limit_exceeded"),
        "PAYLOAD_TOO_LARGE" => body["error"] = json!("payload_too_large"),
        "FEATURE_DISABLED" => body["error"] = json!("feature_disabled"),
        _ => {}
    }
    if let (Some(members), Some(body)) = (&error.members, body.as_object_mut()) {
        body.extend((**members).clone());
    }
    body
}

fn code_of_jobs(error: &ApiError) -> &'static str {
    let code = error.body.code;
    match error.status {
        StatusCode::BAD_REQUEST if code == ErrorCode::InvalidField => "VALIDATION_ERROR",
        StatusCode::BAD_REQUEST => "BAD_REQUEST",
        StatusCode::UNAUTHORIZED => "AUTHENTICATION_FAILED",
        StatusCode::FORBIDDEN if code == ErrorCode::FeatureNotAllowed => "FEATURE_DISABLED",
        StatusCode::FORBIDDEN => "ACCESS_DENIED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::METHOD_NOT_ALLOWED => "METHOD_NOT_ALLOWED",
        StatusCode::REQUEST_TIMEOUT => "REQUEST_TIMEOUT",
        StatusCode::CONFLICT if code == ErrorCode::LeaseLost => "LEASE_EXPIRED",
        StatusCode::CONFLICT => "CONFLICT",
        StatusCode::PAYLOAD_TOO_LARGE => "PAYLOAD_TOO_LARGE",
        StatusCode::UNPROCESSABLE_ENTITY => "VALIDATION_ERROR",
        StatusCode::TOO_MANY_REQUESTS if code == ErrorCode::RateLimitExceeded => {
            "RATE_LIMIT_EXCEEDED"
        }
        StatusCode::TOO_MANY_REQUESTS => "QUOTA_EXCEEDED",
        StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
        status if status.is_server_error() => "INTERNAL_ERROR",
        _ => "BAD_REQUEST",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimitFields = RateLimitFields {
        limit: 60,
        remaining: 3,
        reset: 1_800_000_060,
        scope: Some(PolicyScope::Key),
        structured: None,
    };

    fn body(error: &ApiError) -> Value {
        body_of_jobs(error, true, &RATE)
    }

    #[test]
    fn a_path_belongs_to_the_api_whose_beginning_it_has() {
        for path in ["/api/v1", "/api/v1/", "/api/v1/jobs", "/api/v1/nothing/x"] {
            assert_eq!(Dialect::of(path), Dialect::Jobs, "{path}");
        }
        for path in [
            "/",
            "/v1/tasks",
            "/api/v10/jobs",
            "/api/v2",
            "/api",
            "/v1/api/v1",
        ] {
            assert_eq!(Dialect::of(path), Dialect::Native, "{path}");
        }
    }

    #[test]
    fn a_broken_rule_names_the_field_once() {
        let error = ApiError::bad_field("queue_name", "queue_name must be 1 to 100 characters")
            .breaking("length");
        assert_eq!(
            body(&error),
            json!({"code": "VALIDATION_ERROR", "message": "queue_name: must be 1 to 100 characters",
                "details": [{"field": "queue_name", "message": "must be 1 to 100 characters", "code": "length"}]})
        );
    }

    #[test]
    fn each_kind_of_error_has_its_code() {
        let conflict = |code| ApiError::conflict(code, "x");
        let quota = ApiError::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::QueueLimit, "x");
        for (error, code) in [
            (ApiError::key_required(), "AUTHENTICATION_FAILED"),
            (ApiError::forbidden(), "ACCESS_DENIED"),
            (ApiError::feature_not_allowed("free"), "FEATURE_DISABLED"),
            (ApiError::not_found("x"), "NOT_FOUND"),
            (conflict(ErrorCode::LeaseLost), "LEASE_EXPIRED"),
            (conflict(ErrorCode::Conflict), "CONFLICT"),
            (ApiError::too_large(1), "PAYLOAD_TOO_LARGE"),
            (quota, "QUOTA_EXCEEDED"),
            (
                ApiError::unavailable(ErrorCode::Busy, "x"),
                "SERVICE_UNAVAILABLE",
            ),
            (
                ApiError::bad_request(ErrorCode::InvalidJson, "x"),
                "BAD_REQUEST",
            ),
        ] {
            assert_eq!(body(&error)["code"], code);
        }
        let unmatched = body_of_jobs(&ApiError::not_found("Not found"), false, &RATE);
        assert_eq!(unmatched["message"], "No route matches this path");
    }

    #[test]
    fn a_refused_rate_says_when_to_come_back() {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let error = ApiError::new(status, ErrorCode::RateLimitExceeded, "Slow down").retry_after(7);
        assert_eq!(
            body(&error),
            json!({"error": "Rate limit exceeded", "code": "RATE_LIMIT_EXCEEDED", "message": "Slow down",
                "retry_after_secs": 7, "limit": 60, "remaining": 0, "reset_at": 1_800_000_060})
        );
    }
}
