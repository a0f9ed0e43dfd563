//! What creations in a queue mean where they leave something open: how long attempts may take, and
//! how they are retried.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{Jitter, JitterRequest};
use super::length::Length;
use super::pauses::{BackoffRequest, OwnPauses};
use super::request::{Invalid, Limits, TaskRequest};
use super::retry::Backoff;
use super::spec::TaskSpec;
use crate::time::Timestamp;

/// Stands for the target when defaults are checked as a task would be.
const SOME_URL: &str = "https://example.com/";

/// Defaults for tasks of a queue, as somebody wrote them: the types are correct, the values are not
/// validated yet. A `None` leaves it to the platform.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of a request for a task")]
pub struct QueueDefaultsRequest {
    pub timeout_seconds: Option<f64>,
    pub max_wait_seconds: Option<f64>,
    pub max_retries: Option<i64>,
    pub max_attempts: Option<i64>,
    pub retry_backoff: Option<BackoffRequest>,
    pub min_delay: Option<Length>,
    pub max_delay: Option<Length>,
    pub jitter: Option<JitterRequest>,
    pub max_age: Option<Length>,
    pub capture: Option<bool>,
}

/// Which of them the request for a task gives itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a field for each")]
pub struct Given {
    /// `timeout` or `maxWaitTime`.
    pub windows: bool,
    /// `maxRetries`, `maxAttempts`, or `retryBackoff`, which may list the retries.
    pub retries: bool,
    /// `retryBackoff`, `minDelay` or `maxDelay`, which only make sense together.
    pub pauses: bool,
    /// `jitter`.
    pub jitter: bool,
    /// `maxAge`.
    pub max_age: bool,
}

impl Given {
    /// What a request gives.
    #[must_use]
    pub fn by(request: &TaskRequest) -> Self {
        let backoff = request.retry_backoff.is_some();
        Self {
            windows: request.timeout_seconds.is_some() || request.max_wait_seconds.is_some(),
            retries: request.max_retries.is_some() || request.max_attempts.is_some() || backoff,
            pauses: backoff || request.min_delay.is_some() || request.max_delay.is_some(),
            jitter: request.jitter.is_some(),
            max_age: request.max_age.is_some(),
        }
    }
}

/// Defaults for tasks of a queue. Absent: the platform's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueDefaults {
    /// How long an attempt and an exchange may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<DefaultWindows>,
    /// Retries after the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u16>,
    /// The pauses between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pauses: Option<DefaultPauses>,
    /// How far pauses are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// No retry begins later than this after acceptance, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// How many seconds a worker should take at most for a job of the jobs API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_timeout_s: Option<u32>,
    /// Whether nothing is captured of what calls send and are answered. Absent: the beginning is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_capture: bool,
}

/// Time limits of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultWindows {
    /// Of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Of one exchange with the target, in milliseconds; not below `timeout_ms`.
    pub max_wait_ms: u32,
}

/// Pauses between attempts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DefaultPauses {
    /// How they grow.
    pub backoff: Backoff,
    /// The pauses one by one, in milliseconds; empty: they grow by `backoff`.
    #[serde(default)]
    pub own: OwnPauses,
    /// The shortest one, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<u32>,
    /// The longest one, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u32>,
}

impl QueueDefaults {
    /// Checks defaults as the request for a task that gives them all.
    pub fn check(request: QueueDefaultsRequest, limits: &Limits) -> Result<Self, Invalid> {
        let no_capture = request.capture == Some(false);
        let request = TaskRequest {
            target_url: Some(SOME_URL.into()),
            timeout_seconds: request.timeout_seconds,
            max_wait_seconds: request.max_wait_seconds,
            max_retries: request.max_retries,
            max_attempts: request.max_attempts,
            retry_backoff: request.retry_backoff,
            min_delay: request.min_delay,
            max_delay: request.max_delay,
            jitter: request.jitter,
            max_age: request.max_age,
            ..TaskRequest::default()
        };
        let given = Given::by(&request);
        let spec = TaskSpec::check(request, limits, Timestamp(0))?;
        Ok(Self {
            windows: given.windows.then_some(DefaultWindows {
                timeout_ms: spec.timeout_ms,
                max_wait_ms: spec.max_wait_ms,
            }),
            max_retries: given.retries.then_some(spec.max_retries),
            pauses: given.pauses.then_some(DefaultPauses {
                backoff: spec.backoff,
                own: spec.retry_pauses,
                min_ms: spec.retry_bounds.min_ms,
                max_ms: spec.retry_bounds.max_ms,
            }),
            jitter: given.jitter.then_some(spec.retry_bounds.jitter),
            max_age_ms: spec.retry_bounds.max_age_ms,
            // The native API does not know it.
            job_timeout_s: None,
            no_capture,
        })
    }

    /// Whether everything is left to the platform.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Fills in what a request left open. A plan that allows shorter exchanges than when the defaults
    /// were set goes before them.
    pub fn apply(&self, spec: &mut TaskSpec, given: Given, limits: &Limits) {
        if let Some(windows) = self.windows.filter(|_| !given.windows) {
            let most = u32::try_from(limits.max_wait.as_millis()).unwrap_or(u32::MAX);
            spec.timeout_ms = windows.timeout_ms.min(most);
            spec.max_wait_ms = windows.max_wait_ms.min(most);
        }
        if let Some(retries) = self.max_retries.filter(|_| !given.retries) {
            spec.max_retries = retries;
        }
        if let Some(pauses) = self.pauses.as_ref().filter(|_| !given.pauses) {
            spec.backoff = pauses.backoff;
            spec.retry_pauses = pauses.own.clone();
            spec.retry_bounds.min_ms = pauses.min_ms;
            spec.retry_bounds.max_ms = pauses.max_ms;
        }
        if let Some(jitter) = self.jitter.filter(|_| !given.jitter) {
            spec.retry_bounds.jitter = jitter;
        }
        if let Some(max_age) = self.max_age_ms.filter(|_| !given.max_age) {
            spec.retry_bounds.max_age_ms = Some(max_age);
        }
        spec.no_capture |= self.no_capture;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(366 * 86_400),
        }
    }

    fn defaults() -> QueueDefaults {
        let request = QueueDefaultsRequest {
            timeout_seconds: Some(20.0),
            max_wait_seconds: Some(60.0),
            max_attempts: Some(8),
            retry_backoff: Some(BackoffRequest::Word("linear".into())),
            min_delay: Some(Length::Text("5s".into())),
            max_delay: Some(Length::Text("10m".into())),
            jitter: Some(JitterRequest::Word("full".into())),
            max_age: Some(Length::Text("6h".into())),
            ..QueueDefaultsRequest::default()
        };
        QueueDefaults::check(request, &limits()).expect("fine")
    }

    fn request() -> TaskRequest {
        TaskRequest {
            target_url: Some("https://a.example/".into()),
            ..TaskRequest::default()
        }
    }

    fn with_defaults(request: TaskRequest, limits: &Limits) -> TaskSpec {
        let given = Given::by(&request);
        let mut spec = TaskSpec::check(request, limits, Timestamp(0)).expect("fine");
        defaults().apply(&mut spec, given, limits);
        spec
    }

    #[test]
    fn a_task_that_leaves_all_open_is_as_if_it_gave_the_defaults() {
        let given = TaskRequest {
            timeout_seconds: Some(20.0),
            max_wait_seconds: Some(60.0),
            max_attempts: Some(8),
            retry_backoff: Some(BackoffRequest::Word("linear".into())),
            min_delay: Some(Length::Text("5s".into())),
            max_delay: Some(Length::Text("10m".into())),
            jitter: Some(JitterRequest::Word("full".into())),
            max_age: Some(Length::Text("6h".into())),
            ..request()
        };
        let same = TaskSpec::check(given, &limits(), Timestamp(0)).expect("fine");
        assert!(with_defaults(request(), &limits()) == same);
        assert!(QueueDefaults::default().is_empty());
        assert_eq!(
            QueueDefaults::check(QueueDefaultsRequest::default(), &limits()),
            Ok(QueueDefaults::default())
        );
    }

    #[test]
    fn what_a_task_gives_stands_with_what_belongs_to_it() {
        let short = with_defaults(
            TaskRequest {
                timeout_seconds: Some(5.0),
                max_retries: Some(1),
                jitter: Some(JitterRequest::Word("none".into())),
                ..request()
            },
            &limits(),
        );
        assert_eq!((short.timeout_ms, short.max_wait_ms), (5_000, 30_000));
        assert_eq!((short.max_retries, short.backoff), (1, Backoff::Linear));
        assert_eq!(short.retry_bounds.jitter, Jitter::NONE);
        assert_eq!(short.retry_bounds.max_age_ms, Some(21_600_000));
        let listed = with_defaults(
            TaskRequest {
                retry_backoff: Some(BackoffRequest::Pauses(vec![Length::Seconds(2.0)])),
                ..request()
            },
            &limits(),
        );
        assert_eq!(listed.max_retries, 1, "a list says how many there are");
        assert_eq!(listed.retry_bounds.max_ms, None);
    }

    #[test]
    fn a_plan_that_allows_less_goes_before_the_defaults() {
        let tight = Limits {
            max_wait: Duration::from_secs(40),
            ..limits()
        };
        let spec = with_defaults(request(), &tight);
        assert_eq!((spec.timeout_ms, spec.max_wait_ms), (20_000, 40_000));
    }

    #[test]
    fn a_queue_can_have_nothing_of_its_calls_captured() {
        let check = |capture| {
            let request = QueueDefaultsRequest {
                capture,
                ..QueueDefaultsRequest::default()
            };
            QueueDefaults::check(request, &limits()).expect("fine")
        };
        assert!(check(None).is_empty());
        assert!(check(Some(true)).is_empty(), "as without it");
        let off = check(Some(false));
        assert!(!off.is_empty());
        let given = Given::by(&request());
        let mut spec = TaskSpec::check(request(), &limits(), Timestamp(0)).expect("fine");
        assert!(!spec.no_capture);
        off.apply(&mut spec, given, &limits());
        assert!(spec.no_capture);
    }

    #[test]
    fn wrong_defaults_are_refused_like_those_of_a_task() {
        let refused = |request| {
            QueueDefaults::check(request, &limits())
                .expect_err("refused")
                .field
        };
        let long = QueueDefaultsRequest {
            max_wait_seconds: Some(500.0),
            ..QueueDefaultsRequest::default()
        };
        assert_eq!(refused(long), "maxWaitTime");
        let many = QueueDefaultsRequest {
            max_attempts: Some(101),
            ..QueueDefaultsRequest::default()
        };
        assert_eq!(refused(many), "maxAttempts");
    }
}
