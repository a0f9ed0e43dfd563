//! What follows an attempt: whether its outcome ends the task, and when the next attempt is due.
//!
//! The contract's rule: 2xx completes a task. So do 3xx and 4xx, since repeating does not help,
//! except 408, 425 and 429. Those, 5xx, timeouts, and failures to resolve, connect or read are
//! retried. A task may set its own conditions ([`RetryOn`]).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::{Answer, Failure, FailureKind};
use crate::id::TaskId;
use crate::task::bounds::{Jitter, RetryBounds, Span};
use crate::task::pauses::OwnPauses;
use crate::task::success::Success;
use crate::time::Timestamp;

/// Pause before the first retry.
pub const BASE: Duration = Duration::from_secs(1);
/// Longest pause, even if a target asks for a longer one.
pub const LONGEST: Duration = Duration::from_secs(3_600);
/// Limit of conditions in one `retryOn`.
pub const MAX_CONDITIONS: usize = 20;

/// How the pause before a retry grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// 1, 2, 4, 8 s...
    #[default]
    Exponential,
    /// 1, 2, 3, 4 s...
    Linear,
    /// Always as long as the first one.
    Fixed,
}

impl Backoff {
    /// The name in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exponential => "exponential",
            Self::Linear => "linear",
            Self::Fixed => "fixed",
        }
    }

    /// Reads what [`Backoff::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "exponential" => Some(Self::Exponential),
            "linear" => Some(Self::Linear),
            "fixed" => Some(Self::Fixed),
            _ => None,
        }
    }

    /// The pause before retry 1, 2, 3... of a task that sets no bounds, without jitter.
    #[must_use]
    pub fn pause(self, retry: u32) -> Duration {
        self.grown(BASE, retry).min(LONGEST)
    }

    /// The pause before retry 1, 2, 3..., if the first one is `first`; without any bound.
    fn grown(self, first: Duration, retry: u32) -> Duration {
        let factor = match self {
            Self::Exponential => 1_u32
                .checked_shl(retry.saturating_sub(1))
                .unwrap_or(u32::MAX),
            Self::Linear => retry.max(1),
            Self::Fixed => 1,
        };
        first.saturating_mul(factor)
    }
}

/// How long the pause before retry 1, 2, 3... may be. `wanted` is the target's `Retry-After`. It
/// replaces a pause that grows by the back-off, but only lengthens one that the task lists itself:
/// a task that is to outlive a night must not use up its retries because a failing target answers a
/// short one.
#[must_use]
pub fn pause(
    backoff: Backoff,
    own: &OwnPauses,
    bounds: &RetryBounds,
    retry: u32,
    wanted: Option<Duration>,
) -> Span {
    let wanted = wanted.map(|wanted| bounds.asked(wanted));
    match own.before(retry) {
        Some(own) => wanted
            .filter(|wanted| wanted.from > own)
            .unwrap_or_else(|| bounds.listed(own)),
        None => wanted.unwrap_or_else(|| bounds.span(backoff.grown(bounds.shortest(), retry))),
    }
}

/// When a pause that begins now ends, with up to a tenth of it as jitter.
#[must_use]
pub fn after(pause: Duration, number: u32, id: TaskId, now: Timestamp) -> Timestamp {
    let span = Span {
        from: pause,
        to: pause.saturating_add(Jitter::TENTH.most(pause)),
    };
    within(span, number, id, now)
}

/// When a pause of that span that begins now ends.
///
/// The jitter is computed from the task and the attempt, not from a random source, so that a replay
/// decides the same.
#[must_use]
pub fn within(span: Span, number: u32, id: TaskId, now: Timestamp) -> Timestamp {
    let room = span.to.saturating_sub(span.from).as_millis();
    let room = u64::try_from(room).unwrap_or(u64::MAX);
    let jitter = draw(id, number) % room.saturating_add(1);
    now.plus(span.from.saturating_add(Duration::from_millis(jitter)))
}

fn draw(id: TaskId, attempt: u32) -> u64 {
    let digest = Sha256::new()
        .chain_update(id.to_string())
        .chain_update(attempt.to_be_bytes())
        .finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// A condition under which an attempt is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// `"503"`
    Status(u16),
    /// `"5xx"`
    Class(u16),
    /// `"timeout"`
    Timeout,
    /// `"connection"`: the name did not resolve, no connection or TLS session was established, or
    /// the connection broke.
    Connection,
}

impl Condition {
    /// Parses a condition as in requests.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "timeout" => Some(Self::Timeout),
            "connection" => Some(Self::Connection),
            "3xx" => Some(Self::Class(3)),
            "4xx" => Some(Self::Class(4)),
            "5xx" => Some(Self::Class(5)),
            _ if text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .ok()
                .filter(|status| (300..600).contains(status))
                .map(Self::Status),
            _ => None,
        }
    }

    fn holds(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Status(status), Outcome::Answered(answer)) => answer.status == status,
            (Self::Class(class), Outcome::Answered(answer)) => answer.status / 100 == class,
            (Self::Timeout, Outcome::Failed(failure)) => failure.kind == FailureKind::Timeout,
            (Self::Connection, Outcome::Failed(failure)) => matches!(
                failure.kind,
                FailureKind::Dns
                    | FailureKind::Connect
                    | FailureKind::Tls
                    | FailureKind::Closed
                    | FailureKind::Protocol
            ),
            _ => false,
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connection => f.write_str("connection"),
        }
    }
}

/// The task's own conditions for a retry; nothing else is retried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RetryOn(Vec<String>);

impl RetryOn {
    /// Parses the conditions of a request; returns the first invalid one as the error.
    pub fn parse(conditions: &[String]) -> Result<Self, String> {
        match conditions
            .iter()
            .find(|text| Condition::parse(text).is_none())
        {
            Some(text) => Err(text.clone()),
            None => Ok(Self(conditions.to_vec())),
        }
    }

    /// The conditions as in requests.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    fn holds(&self, outcome: &Outcome) -> bool {
        self.0
            .iter()
            .filter_map(|text| Condition::parse(text))
            .any(|condition| condition.holds(outcome))
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered.
    Answered(Answer),
    /// There was no complete answer.
    Failed(Failure),
}

/// What an outcome means for its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is the result.
    Completed,
    /// Retry, as long as retries are left.
    Retry,
    /// A retry cannot help.
    Hopeless,
}

/// Judges the outcome of an attempt. If there is a rule of success, every other answer is a
/// failure: it is retried if `retryOn`, or else the contract's rule, says so, and otherwise ends
/// the task as failed.
#[must_use]
pub fn judge(outcome: &Outcome, retry_on: Option<&RetryOn>, success: Option<&Success>) -> Verdict {
    if let (Outcome::Answered(answer), Some(success)) = (outcome, success)
        && success.holds(answer.status)
    {
        return Verdict::Completed;
    }
    let retries = match (retry_on, outcome) {
        // An attempt that was lost with its worker, or failed because the vault was unavailable,
        // says nothing about the target.
        (_, Outcome::Failed(f))
            if matches!(
                f.kind,
                FailureKind::WorkerLost | FailureKind::WorkerFault | FailureKind::VaultAway
            ) =>
        {
            true
        }
        (Some(own), _) => own.holds(outcome),
        (None, Outcome::Answered(answer)) => {
            answer.status >= 500 || matches!(answer.status, 408 | 425 | 429)
        }
        (None, Outcome::Failed(failure)) => !matches!(
            failure.kind,
            FailureKind::BlockedAddress
                | FailureKind::InvalidRequest
                | FailureKind::Vault
                | FailureKind::VaultIntegrity
        ),
    };
    match outcome {
        _ if retries => Verdict::Retry,
        Outcome::Answered(answer) if success.is_none() && answer.status < 500 => Verdict::Completed,
        Outcome::Answered(_) | Outcome::Failed(_) => Verdict::Hopeless,
    }
}

/// The failure for an answer. For a redirect that was not followed, it names the location.
#[must_use]
pub fn answer_failure(answer: &Answer) -> Failure {
    match answer.unfollowed_redirect() {
        None => http_failure(answer.status),
        Some(redirect) => Failure {
            kind: FailureKind::HttpStatus,
            message: format!("Unexpected answer: {redirect}"),
        },
    }
}

/// The contract's wording: `Server error: HTTP 500 - Internal Server Error`.
fn http_failure(status: u16) -> Failure {
    let side = if status >= 500 {
        "Server error"
    } else if status >= 400 {
        "Client error"
    } else {
        "Unexpected answer"
    };
    let reason = reason_phrase(status);
    let separator = if reason.is_empty() { "" } else { " - " };
    Failure {
        kind: FailureKind::HttpStatus,
        message: format!("{side}: HTTP {status}{separator}{reason}"),
    }
}

/// The registered reason phrases (RFC 9110 and the IANA registry) of statuses that may be failures.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BodyEncoding;
    use crate::partition::Partition;
    use proptest::prelude::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered(answer(status, &[]))
    }

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        Answer {
            status,
            headers: headers
                .iter()
                .map(|(n, v)| ((*n).into(), (*v).into()))
                .collect(),
            body: String::new(),
            encoding: BodyEncoding::Text,
            body_bytes: 0,
            duration_ms: 1,
            header_bytes: None,
        }
    }

    fn failed(kind: FailureKind) -> Outcome {
        Outcome::Failed(Failure {
            kind,
            message: "it broke".into(),
        })
    }

    fn id() -> TaskId {
        TaskId::new(Timestamp(1), 1, Partition::new(0).expect("one"))
    }

    #[test]
    fn what_retries_is_what_the_contract_says() {
        for status in [
            200, 201, 204, 299, 301, 302, 304, 400, 401, 404, 409, 410, 422, 451,
        ] {
            assert_eq!(
                judge(&answered(status), None, None),
                Verdict::Completed,
                "{status}"
            );
        }
        for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
            assert_eq!(
                judge(&answered(status), None, None),
                Verdict::Retry,
                "{status}"
            );
        }
        for kind in [
            FailureKind::Timeout,
            FailureKind::Dns,
            FailureKind::Connect,
            FailureKind::Tls,
            FailureKind::Closed,
            FailureKind::Protocol,
        ] {
            assert_eq!(judge(&failed(kind), None, None), Verdict::Retry, "{kind:?}");
        }
        for kind in [
            FailureKind::BlockedAddress,
            FailureKind::InvalidRequest,
            FailureKind::Vault,
            FailureKind::VaultIntegrity,
        ] {
            assert_eq!(
                judge(&failed(kind), None, None),
                Verdict::Hopeless,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_task_may_narrow_and_widen_what_retries() {
        let own =
            RetryOn::parse(&["503".into(), "404".into(), "timeout".into()]).expect("conditions");
        assert_eq!(judge(&answered(503), Some(&own), None), Verdict::Retry);
        assert_eq!(judge(&answered(404), Some(&own), None), Verdict::Retry);
        assert_eq!(judge(&answered(500), Some(&own), None), Verdict::Hopeless);
        assert_eq!(judge(&answered(429), Some(&own), None), Verdict::Completed);
        assert_eq!(
            judge(&failed(FailureKind::Timeout), Some(&own), None),
            Verdict::Retry
        );
        assert_eq!(
            judge(&failed(FailureKind::Connect), Some(&own), None),
            Verdict::Hopeless
        );
        assert_eq!(
            judge(&failed(FailureKind::WorkerLost), Some(&own), None),
            Verdict::Retry
        );
        assert_eq!(
            RetryOn::parse(&["5xx".into(), "sometimes".into()]),
            Err("sometimes".into())
        );
    }

    #[test]
    fn what_is_no_success_fails_and_retries_as_the_task_says() {
        let only = Success::parse("2xx,404").expect("a rule");
        let judged =
            |status, retry_on: Option<&RetryOn>| judge(&answered(status), retry_on, Some(&only));
        assert_eq!(judged(200, None), Verdict::Completed);
        assert_eq!(judged(404, None), Verdict::Completed);
        // Repeating helps neither against a client's mistake nor with an unfollowed redirect.
        for status in [302, 400, 401, 403, 410, 422] {
            assert_eq!(judged(status, None), Verdict::Hopeless, "{status}");
        }
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(judged(status, None), Verdict::Retry, "{status}");
        }
        let own = RetryOn::parse(&["4xx".into()]).expect("conditions");
        assert_eq!(judged(403, Some(&own)), Verdict::Retry);
        assert_eq!(
            judged(404, Some(&own)),
            Verdict::Completed,
            "a success is never repeated"
        );
        assert_eq!(judged(503, Some(&own)), Verdict::Hopeless);
        let even_500 = Success::parse("500").expect("a rule");
        assert_eq!(
            judge(&answered(500), None, Some(&even_500)),
            Verdict::Completed
        );
        assert_eq!(
            judge(&answered(200), None, Some(&even_500)),
            Verdict::Hopeless
        );
    }

    #[test]
    fn pauses_grow_as_the_contract_says() {
        let seconds = |backoff: Backoff| {
            (1..=5)
                .map(|n| backoff.pause(n).as_secs())
                .collect::<Vec<_>>()
        };
        assert_eq!(seconds(Backoff::Exponential), [1, 2, 4, 8, 16]);
        assert_eq!(seconds(Backoff::Linear), [1, 2, 3, 4, 5]);
        assert_eq!(seconds(Backoff::Fixed), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_target_may_lengthen_pauses_of_a_tasks_own_and_not_shorten_them() {
        let own = OwnPauses::overnight();
        let seconds = |retry, wanted: Option<u64>| {
            let wanted = wanted.map(Duration::from_secs);
            let bounds = RetryBounds::default();
            pause(Backoff::Exponential, &own, &bounds, retry, wanted)
                .from
                .as_secs()
        };
        assert_eq!(seconds(1, None), 10);
        assert_eq!(seconds(1, Some(120)), 120);
        assert_eq!(seconds(7, Some(30)), 7_200);
        assert_eq!(seconds(2, Some(90_000)), 3_600, "up to an hour");
    }

    #[test]
    fn the_sentence_is_the_contracts() {
        assert_eq!(
            http_failure(500).message,
            "Server error: HTTP 500 - Internal Server Error"
        );
        assert_eq!(http_failure(599).message, "Server error: HTTP 599");
        let redirect = answer(302, &[("Location", "https://b.example/")]);
        assert_eq!(
            answer_failure(&redirect).message,
            "Unexpected answer: HTTP 302 redirects to https://b.example/, which was not followed"
        );
        assert_eq!(
            answer_failure(&answer(304, &[])).message,
            "Unexpected answer: HTTP 304 - Not Modified"
        );
    }

    proptest! {
        #[test]
        fn a_retry_is_never_early_and_at_most_a_tenth_late(retry in 1_u32..200, wanted in proptest::option::of(0_u64..u64::MAX)) {
            let wanted = wanted.map(Duration::from_secs);
            let span = pause(Backoff::Exponential, &OwnPauses::default(), &RetryBounds::default(), retry, wanted);
            let pause = span.from;
            prop_assert_eq!(pause, wanted.map_or(Backoff::Exponential.pause(retry), |w| w.clamp(BASE, LONGEST)));
            let at = within(span, retry, id(), Timestamp(0));
            prop_assert!(at.since(Timestamp(0)) >= pause);
            prop_assert!(at.since(Timestamp(0)) <= pause + pause / 10 + Duration::from_millis(1));
        }

        #[test]
        fn a_pause_lies_between_the_bounds_of_its_task_whatever_the_target_asks_for(
            backoff in proptest::sample::select(vec![Backoff::Exponential, Backoff::Linear, Backoff::Fixed]),
            min in 1_000_u32..86_400_000,
            more in 0_u32..86_400_000,
            jitter in 0_u16..=1_000,
            retry in 1_u32..100,
            wanted in proptest::option::of(0_u64..200_000),
        ) {
            let jitter: Jitter = serde_json::from_str(&jitter.to_string()).expect("a share");
            let bounds = RetryBounds { min_ms: Some(min), max_ms: Some(min + more), jitter, max_age_ms: None };
            let span = pause(backoff, &OwnPauses::default(), &bounds, retry, wanted.map(Duration::from_secs));
            let millis = within(span, retry, id(), Timestamp(0)).since(Timestamp(0)).as_millis();
            prop_assert!((u128::from(min)..=u128::from(min + more)).contains(&millis), "{millis} in {bounds:?}");
            if let Some(wanted) = wanted {
                let heard = u128::from(wanted * 1_000).min(u128::from(min + more));
                prop_assert!(millis >= heard, "{millis} after {wanted} s in {bounds:?}");
            }
        }
    }
}
