//! A request for a task before validation, the limits that apply to it, and validation errors.

use std::fmt;
use std::time::Duration;

use crate::task::bounds::JitterRequest;
use crate::task::length::Length;
use crate::task::once::{DebounceRequest, DedupRequest, SingletonRequest};
use crate::task::pauses::BackoffRequest;

/// A request for a task as a client wrote it: the types are correct, the values are not validated
/// yet. A `None` was not given.
#[derive(Clone, Default, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are those of the contract, and of `TaskSpec`"
)]
pub struct TaskRequest {
    pub target_url: Option<String>,
    pub method: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    pub body_encoding: Option<String>,
    pub max_wait_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
    pub delay_until: Option<String>,
    pub delay: Option<Length>,
    pub deadline: Option<String>,
    pub expires_in: Option<Length>,
    pub success: Option<String>,
    pub tags: Option<Vec<String>>,
    pub metadata: Option<Vec<(String, String)>>,
    pub max_retries: Option<i64>,
    pub max_attempts: Option<i64>,
    pub retry_backoff: Option<BackoffRequest>,
    pub min_delay: Option<Length>,
    pub max_delay: Option<Length>,
    pub jitter: Option<JitterRequest>,
    pub max_age: Option<Length>,
    pub retry_on: Option<Vec<String>>,
    pub priority: Option<i64>,
    pub fairness_key: Option<String>,
    pub ordering_key: Option<String>,
    pub on_failure: Option<String>,
    pub queue: Option<String>,
    pub follow_redirects: Option<bool>,
    pub on_complete_url: Option<String>,
    pub resolve: Option<Vec<String>>,
    pub fairness_weight: Option<i64>,
    pub debounce: Option<DebounceRequest>,
    pub singleton: Option<SingletonRequest>,
    pub dedup: Option<DedupRequest>,
    pub limits: Option<Vec<LimitRequest>>,
    pub on_rate_limited: Option<String>,
}

/// A limit key of a task as a client wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `TaskLimit`")]
pub struct LimitRequest {
    pub key: Option<String>,
    pub concurrency: Option<i64>,
    pub rate: Option<RateRequest>,
}

/// A rate as a client wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `StartRate`")]
pub struct RateRequest {
    pub limit: Option<i64>,
    pub per: Option<Length>,
    pub burst: Option<i64>,
}

/// Headers and body may contain credentials, so `Debug` does not show them.
impl fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRequest")
            .field("target_url", &self.target_url)
            .field("method", &self.method)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// Limits from the team's plan and the server's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Limit of `maxWaitTime`.
    pub max_wait: Duration,
    /// Limit of how far in the future `delayUntil` may be, and of `expiresIn` and `maxAge`.
    pub max_delay: Duration,
}

/// An invalid value of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Name of the field in the request.
    pub field: &'static str,
    /// What was wrong, with which value, and what would be right.
    pub message: String,
}

impl Invalid {
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// Enough of a client's text to recognise it in an error.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MOST).collect();
    short.push('…');
    short
}
