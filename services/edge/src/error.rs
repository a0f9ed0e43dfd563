//! Errors as clients of the native API see them: `{"error", "code", "field"?}` with the right status.

mod code;
mod commands;
mod dialect;
mod grpc;
mod people;
pub mod rules;
pub mod shared;

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::{KeyId, QueueName};
use waybill_domain::task::Invalid;
use waybill_log::{AppendError, LogFull, ReadError};
use waybill_projector::QueryError;

pub use code::ErrorCode;
pub use commands::quota;
pub use dialect::{Dialect, JobsErrorBody, JobsErrorDetail};
pub use grpc::GrpcStatus;

/// Seconds after which a client may try again when a dependency is unavailable.
const RETRY_AFTER_SECONDS: u64 = 1;
/// Seconds after which a log that was full may have room again: ended history goes in rounds of about that length.
const LOG_FULL_RETRY_AFTER_SECONDS: u64 = 10;

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// A sentence for people.
    pub error: Cow<'static, str>,
    /// The same sentence, for clients that read `message`.
    pub message: Cow<'static, str>,
    /// A stable word for programs; `docs/errors.md` says of each what it means and what to do.
    pub code: ErrorCode,
    /// The field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Cow<'static, str>>,
    /// The task that may or may not have been accepted (`outcome_unknown`), or that another one is a duplicate of (`duplicate_task`).
    #[serde(rename = "taskId", skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The key that a repeated request had made (`secret_already_shown` only).
    #[serde(rename = "keyId", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The limits that the request is over (`rate_limit_exceeded` only).
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    pub violated_policies: Vec<String>,
}

/// The code of an error, as an extension of its response: for layers that see the response on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Code(pub ErrorCode);

/// A request is refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", body.error)]
pub struct ApiError {
    pub status: StatusCode,
    /// Body of the response.
    pub body: Box<ErrorBody>,
    challenge: Option<Cow<'static, str>>,
    closes: bool,
    retry_after_s: Option<u64>,
    /// Which kind of rule a value breaks, for APIs that tell it.
    rule: Option<&'static str>,
    /// Members of the body that only some errors of some APIs have.
    members: Option<Box<serde_json::Map<String, serde_json::Value>>>,
}

impl ApiError {
    /// An error of any kind.
    pub fn new(status: StatusCode, code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self {
            status,
            body: Box::new(ErrorBody {
                error: message.clone(),
                message,
                code,
                field: None,
                task_id: None,
                key_id: None,
                violated_policies: Vec::new(),
            }),
            challenge: None,
            closes: false,
            retry_after_s: None,
            rule: None,
            members: None,
        }
    }

    /// Says which kind of rule a value breaks: `length`, `range`, `pattern`, `required` or `type`.
    #[must_use]
    pub fn breaking(mut self, rule: &'static str) -> Self {
        self.rule = Some(rule);
        self
    }

    /// Adds members to the body as the jobs API writes it; they win over its own.
    #[must_use]
    pub fn with_members(mut self, members: serde_json::Map<String, serde_json::Value>) -> Self {
        self.members = Some(Box::new(members));
        self
    }

    pub fn about(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.body.field = Some(field.into());
        self
    }

    /// 400 about the request as a whole.
    pub fn bad_request(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 400 about one field or parameter.
    pub fn bad_field(
        field: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::bad_request(ErrorCode::InvalidField, message).about(field)
    }

    /// 401: no credential was sent.
    #[must_use]
    pub fn key_required() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "API key required",
        );
        error.challenge = Some("Bearer realm=\"api\"".into());
        error
    }

    /// 401: unknown, malformed and revoked keys alike.
    #[must_use]
    pub fn key_refused() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "Invalid or revoked API key",
        );
        error.challenge = Some("Bearer realm=\"api\", error=\"invalid_token\"".into());
        error
    }

    /// 403: another team's resource.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::AccessDenied,
            "Access denied",
        )
    }

    /// 403: a queue that the key is not limited to.
    #[must_use]
    pub fn outside_queues(queue: &QueueName) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::AccessDenied,
            format!("The key is limited to other queues than {queue}"),
        )
    }

    /// 403: a route that does not look at queues, for a key that is limited to some.
    #[must_use]
    pub fn limited_to_queues() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::AccessDenied,
            "The key is limited to queues, and this route is about more than those",
        )
    }

    /// 401: an access token of a person that is malformed, out of date or whose session has ended.
    #[must_use]
    pub fn session_refused() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "Invalid or expired session",
        );
        error.challenge = Some("Bearer realm=\"api\", error=\"invalid_token\"".into());
        error
    }

    /// 401: an access token of an application that is malformed, out of date, revoked or narrowed to nothing.
    #[must_use]
    pub fn token_refused() -> Self {
        let mut error = Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::Unauthorized,
            "Invalid or expired access token",
        );
        error.challenge = Some("Bearer realm=\"api\", error=\"invalid_token\"".into());
        error
    }

    /// 403: only people may do this, not keys.
    #[must_use]
    pub fn person_required() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::PersonRequired,
            "Only a person who is signed in may do this",
        )
    }

    /// 403: only keys may do this, neither people nor applications.
    #[must_use]
    pub fn api_key_required() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::ApiKeyRequired,
            "Only an API key may do this, for itself",
        )
    }

    /// 403: the role in the team is too low.
    #[must_use]
    pub fn missing_role(role: Role) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::InsufficientRole,
            format!("This takes the role {role} in the team, or a higher one"),
        )
    }

    /// 403: a key that is bound to other networks.
    #[must_use]
    pub fn source_refused() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::SourceNotAllowed,
            "The API key may not be used from this address",
        )
    }

    /// 403: the plan does not include the API.
    #[must_use]
    pub fn feature_not_allowed(plan: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::FeatureNotAllowed,
            format!("The plan {plan} does not include API access"),
        )
    }

    /// 404: no such API key.
    #[must_use]
    pub fn no_such_key() -> Self {
        Self::not_found("API key not found")
    }

    /// 403: the key may not do this.
    #[must_use]
    pub fn missing_scope(scope: Scope) -> Self {
        let mut error = Self::new(
            StatusCode::FORBIDDEN,
            ErrorCode::InsufficientScope,
            format!("The credential lacks the scope {scope}"),
        );
        error.challenge = Some(
            format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"").into(),
        );
        error
    }

    /// 404: there is no such thing, or it is not shown to this caller.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, message)
    }

    /// 409: what is there does not allow the request.
    pub fn conflict(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// 413, for a request or for what would be stored of it.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::PayloadTooLarge,
            format!("The request body must be at most {limit} bytes"),
        )
    }

    /// 503 with `Retry-After`: a dependency is unavailable.
    pub fn unavailable(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 503: a record that may have taken rights away is not understood by this gateway.
    #[must_use]
    pub fn not_understood() -> Self {
        Self::unavailable(
            ErrorCode::AccessNotUnderstood,
            "A change of access was written by a newer version or is damaged, and may have taken this access away; \
             it is closed until this gateway understands the change",
        )
    }

    /// 500. The reason goes to the log, not to the client.
    #[must_use]
    pub fn internal(reason: &dyn std::fmt::Display) -> Self {
        tracing::error!(%reason, "a request failed by a fault of Waybill; the client got 500");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Internal,
            "Internal server error",
        )
    }

    /// The connection cannot be used any more: the rest of the request was not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Names the limits that the request is over.
    #[must_use]
    pub fn violating(mut self, policies: Vec<String>) -> Self {
        self.body.violated_policies = policies;
        self
    }

    /// Says after how many seconds the request may be repeated.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The seconds that `Retry-After` will say. `None`: the header is left out.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_s.or_else(|| {
            let usual = match self.body.code {
                ErrorCode::LogFull => LOG_FULL_RETRY_AFTER_SECONDS,
                _ => RETRY_AFTER_SECONDS,
            };
            (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(usual)
        })
    }

    /// Names the key that was made before.
    #[must_use]
    pub fn for_key(mut self, id: &KeyId) -> Self {
        self.body.key_id = Some(id.to_string());
        self
    }

    /// Names the task that may or may not have been accepted.
    #[must_use]
    pub fn for_task(mut self, id: impl Into<String>) -> Self {
        self.body.task_id = Some(id.into());
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(&*self.body)).into_response();
        response.extensions_mut().insert(Code(self.body.code));
        // Another API may write it in another way.
        response.extensions_mut().insert(Arc::new(self.clone()));
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.challenge
            && let Ok(value) = HeaderValue::from_str(&challenge)
        {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::bad_field(invalid.field, invalid.message)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable { reason } => {
                tracing::warn!(reason, "the log does not answer");
                log_unavailable()
            }
            // Retention dropped records during the request; when it is repeated, it reads what is left.
            ReadError::Gap { .. } => {
                tracing::warn!(%error, "a request read what retention has dropped meanwhile; the client got 503");
                log_unavailable()
            }
        }
    }
}

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Unavailable { reason } => {
                tracing::warn!(
                    reason,
                    "the log does not accept appends; the client got 503"
                );
                log_unavailable()
            }
            AppendError::Unknown { reason } => {
                tracing::warn!(
                    reason,
                    "the outcome of an append is unknown; the client got 503 outcome_unknown"
                );
                Self::unavailable(
                    ErrorCode::OutcomeUnknown,
                    "The log did not confirm in time; the request may or may not have taken effect. \
                     Look before you repeat it",
                )
            }
            AppendError::Full { reason } => {
                tracing::error!(
                    reason,
                    "the log is full: a limit of bytes is reached; the client got 503 log_full"
                );
                Self::unavailable(
                    ErrorCode::LogFull,
                    "The log is full; nothing was stored. Try again later",
                )
            }
            AppendError::Rejected { reason } => {
                tracing::error!(
                    reason,
                    "the log rejects appends; the client got 503 log_refused (see waybill doctor)"
                );
                Self::unavailable(
                    ErrorCode::LogRefused,
                    "The log refuses to store more; try again later",
                )
            }
            AppendError::Conflict { .. } => Self::unavailable(
                ErrorCode::Conflict,
                "Others were changing the same thing; try again",
            ),
        }
    }
}

impl From<LogFull> for ApiError {
    fn from(full: LogFull) -> Self {
        Self::unavailable(
            ErrorCode::LogFull,
            format!("{full}. Nothing was accepted; try again later"),
        )
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Invalid { field, message } => Self::bad_field(field, message),
            QueryError::Unavailable { .. } | QueryError::Behind { .. } => {
                tracing::warn!(%error, "no projector answered in time; the client got 503 reads_unavailable");
                Self::unavailable(
                    ErrorCode::ReadsUnavailable,
                    "Tasks cannot be read at the moment; try again later",
                )
            }
        }
    }
}

fn log_unavailable() -> ApiError {
    ApiError::unavailable(
        ErrorCode::LogUnavailable,
        "The log is not available; try again later",
    )
}

/// 404 for a path that does not exist.
pub async fn no_such_path() -> ApiError {
    ApiError::not_found("Not found")
}

/// Gives an error of axum, such as a bare 405, the body of every other error. Its `Allow` header stays.
pub fn explain_bare(response: Response) -> Response {
    let status = response.status();
    let ours = |value: &HeaderValue| {
        let kind = value.as_bytes();
        kind.starts_with(b"application/json") || kind.starts_with(b"text/html")
    };
    if !(status.is_client_error() || status.is_server_error())
        || response.headers().get(CONTENT_TYPE).is_some_and(ours)
    {
        return response;
    }
    let allow = response.headers().get(ALLOW).cloned();
    let (code, message) = match status {
        StatusCode::METHOD_NOT_ALLOWED => (ErrorCode::MethodNotAllowed, "Method not allowed"),
        StatusCode::NOT_FOUND => (ErrorCode::NotFound, "Not found"),
        status if status.is_server_error() => (ErrorCode::Internal, "Internal server error"),
        _ => (ErrorCode::BadRequest, "The request is not valid"),
    };
    let mut explained = ApiError::new(status, code, message).into_response();
    if let Some(allow) = allow {
        explained.headers_mut().insert(ALLOW, allow);
    }
    explained
}
