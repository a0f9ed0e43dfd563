//! What creations in a queue mean where they leave something open.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::task::queue_defaults::{DefaultPauses, DefaultWindows};
use waybill_domain::task::{Limits, QueueDefaults, QueueDefaultsRequest};
use waybill_edge::backoff::{RetryBackoff, ShownBackoff};
use waybill_edge::error::ApiError;
use waybill_edge::jitter::{Jitter, ShownJitter};
use waybill_edge::lengths::{Length, Seconds};

/// Defaults for tasks that are created in the queue from now on: what a member of a creation means when it is absent. What is left out is the
/// platform's default. A task that gives one of `timeout` and `maxWaitTime` has neither default; one that gives `retryBackoff`, `minDelay` or
/// `maxDelay` has none of these three, and with `retryBackoff` no default number of retries.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QueueDefaultsWanted {
    /// Seconds that an attempt may take, as of a task.
    #[schema(example = 20)]
    timeout: Option<f64>,
    /// Seconds that an exchange with the target may take, as of a task.
    max_wait_time: Option<f64>,
    /// Retries after the first attempt, 0 to 10.
    max_retries: Option<i64>,
    /// Instead of `maxRetries`: attempts in all, 1 to 100.
    #[schema(example = 8)]
    max_attempts: Option<i64>,
    /// When retries are due, as of a task.
    retry_backoff: Option<RetryBackoff>,
    /// The shortest pause, from which pauses grow.
    #[schema(value_type = Option<String>, example = "5s")]
    min_delay: Option<Length>,
    /// The longest pause.
    #[schema(value_type = Option<String>)]
    max_delay: Option<Length>,
    /// How far pauses are spread.
    jitter: Option<Jitter>,
    /// No retry begins later than this after the creation.
    #[schema(value_type = Option<String>)]
    max_age: Option<Length>,
    /// `false`: nothing is captured of what calls send and are answered, which `GET /v1/tasks/{id}/captures` shows otherwise.
    capture: Option<bool>,
}

impl QueueDefaultsWanted {
    pub(super) fn check(self, limits: &Limits) -> Result<QueueDefaults, ApiError> {
        let request = QueueDefaultsRequest {
            timeout_seconds: self.timeout,
            max_wait_seconds: self.max_wait_time,
            max_retries: self.max_retries,
            max_attempts: self.max_attempts,
            retry_backoff: self.retry_backoff.map(Into::into),
            min_delay: self.min_delay.map(|length| length.0),
            max_delay: self.max_delay.map(|length| length.0),
            jitter: self.jitter.map(Into::into),
            max_age: self.max_age.map(|length| length.0),
            capture: self.capture,
        };
        QueueDefaults::check(request, limits).map_err(|invalid| {
            let message = format!("defaults.{}", invalid.message);
            ApiError::bad_field(format!("defaults.{}", invalid.field), message)
        })
    }
}

/// Defaults of a queue for tasks; what is absent is the platform's.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueDefaultsObject {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    timeout: Option<Seconds>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    max_wait_time: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_backoff: Option<ShownBackoff>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    min_delay: Option<Seconds>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    max_delay: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<ShownJitter>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    max_age: Option<Seconds>,
    /// `false`: nothing is captured of its calls. Absent: their beginnings are.
    #[serde(skip_serializing_if = "Option::is_none")]
    capture: Option<bool>,
}

impl QueueDefaultsObject {
    /// `None`: all are the platform's.
    pub(super) fn of(defaults: &QueueDefaults) -> Option<Self> {
        if defaults.is_empty() {
            return None;
        }
        let millis = |millis: Option<u32>| millis.map(|millis| Seconds(millis.into()));
        let windows = |of: fn(DefaultWindows) -> u32| millis(defaults.windows.map(of));
        let pauses = defaults.pauses.as_ref();
        let bound = |of: fn(&DefaultPauses) -> Option<u32>| millis(pauses.and_then(of));
        Some(Self {
            timeout: windows(|windows| windows.timeout_ms),
            max_wait_time: windows(|windows| windows.max_wait_ms),
            max_retries: defaults.max_retries,
            retry_backoff: pauses.map(|pauses| ShownBackoff::of(pauses.backoff, &pauses.own)),
            min_delay: bound(|pauses| pauses.min_ms),
            max_delay: bound(|pauses| pauses.max_ms),
            jitter: defaults.jitter.map(Into::into),
            max_age: defaults.max_age_ms.map(Seconds),
            capture: defaults.no_capture.then_some(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn checked(json: &str) -> Result<QueueDefaults, ApiError> {
        let wanted: QueueDefaultsWanted = serde_json::from_str(json).expect(json);
        wanted.check(&Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(366 * 86_400),
        })
    }

    #[test]
    fn defaults_are_shown_as_they_were_set() {
        let all = checked(
            r#"{"timeout": 20, "maxWaitTime": 60, "maxAttempts": 8, "retryBackoff": ["10s", "5m"], "jitter": "full", "maxAge": "6h", "capture": false}"#,
        );
        let shown = QueueDefaultsObject::of(&all.expect("fine"));
        assert_eq!(
            serde_json::to_value(shown).expect("plain data"),
            serde_json::json!({
                "timeout": 20, "maxWaitTime": 60, "maxRetries": 7, "retryBackoff": [10, 300], "jitter": "full", "maxAge": 21_600, "capture": false
            })
        );
        assert!(QueueDefaultsObject::of(&checked("{}").expect("fine")).is_none());
    }

    #[test]
    fn a_wrong_default_is_named_with_its_limit() {
        let refused = checked(r#"{"maxAttempts": 101}"#).expect_err("too many");
        assert_eq!(refused.body.field.as_deref(), Some("defaults.maxAttempts"));
        let said = &refused.body.error;
        assert!(said.starts_with("defaults.maxAttempts must be"), "{said}");
    }
}
