//! What a client may ask for: a request is checked once, here, and is a [`TaskSpec`] from then on.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use crate::egress::check_header;
use crate::event::{SealedHeaders, TaskCreated};
use crate::id::{QueueName, TaskId, TeamId};
use crate::task::retry::{Backoff, MAX_CONDITIONS, RetryOn};
use crate::time::Timestamp;
use crate::vault::hosts::may_carry_secrets;
use crate::vault::reference::{self, MAX_TOKENS, Place, Reference, Resolve};
use crate::vault::{CredentialHeaders, RawHeaders, replace};

/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 8_192;
/// Headers of a task.
pub const MAX_HEADERS: usize = 100;
/// Names and values of a task's headers together, in bytes.
pub const MAX_HEADER_BYTES: usize = 32_768;
/// Largest body of a task, in bytes. The whole request has the same limit, so this only matters to callers other than HTTP.
pub const MAX_BODY_BYTES: usize = 1_048_576;
/// Most retries after the first attempt.
pub const MAX_RETRIES: u16 = 10;
/// Longest time limit of one attempt.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(900);
/// Longest idempotency key, in characters.
pub const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;
/// What a task gets that says nothing about its time limits.
pub const DEFAULT_SECONDS: f64 = 30.0;
/// What a task gets that says nothing about retries.
pub const DEFAULT_RETRIES: u16 = 3;

/// HTTP methods of the call to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "each one is its name")]
pub enum Method {
    Get,
    #[default]
    Post,
    Put,
    Delete,
    Patch,
    Head,
}

impl Method {
    /// As on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Head => "HEAD",
        }
    }

    /// Reads what [`Method::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Get,
            Self::Post,
            Self::Put,
            Self::Delete,
            Self::Patch,
            Self::Head,
        ]
        .into_iter()
        .find(|method| method.as_str() == text)
    }

    /// Whether a body is sent with it.
    #[must_use]
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Get | Self::Head)
    }
}

/// 1 to 10, higher first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// What a task gets that names none.
    pub const DEFAULT: Self = Self(5);
    /// What is served first.
    pub const MAX: Self = Self(10);

    /// `None` when it is not between 1 and 10.
    #[must_use]
    pub fn new(value: u8) -> Option<Self> {
        (1..=10).contains(&value).then_some(Self(value))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;
    fn try_from(value: u8) -> Result<Self, Self::Error> {
        Self::new(value).ok_or("a priority is between 1 and 10")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

/// A request for a task as a client wrote it: types are right, values are not yet checked. What is `None` was not given.
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
    pub max_wait_seconds: Option<f64>,
    pub timeout_seconds: Option<f64>,
    pub delay_until: Option<String>,
    pub max_retries: Option<i64>,
    pub retry_backoff: Option<String>,
    pub retry_on: Option<Vec<String>>,
    pub priority: Option<i64>,
    pub queue: Option<String>,
    pub follow_redirects: Option<bool>,
    pub on_complete_url: Option<String>,
    pub resolve: Option<Vec<String>>,
}

/// Headers and body may hold credentials.
impl fmt::Debug for TaskRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskRequest")
            .field("target_url", &self.target_url)
            .field("method", &self.method)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// What the team's plan and the server's configuration allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest `maxWaitTime`.
    pub max_wait: Duration,
    /// How far ahead `delayUntil` may be.
    pub max_delay: Duration,
}

/// A value of a request that will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// The field, as in the request.
    pub field: &'static str,
    /// What was wrong, with which value, and what would be right.
    pub message: String,
}

impl Invalid {
    /// About a field.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// A task as it was asked for, checked, with every default filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Where it queues.
    pub queue: QueueName,
    /// What to call: http or https, with a host and without credentials.
    pub url: String,
    /// How to call it.
    pub method: Method,
    /// Headers as given, in order; legal in HTTP.
    pub headers: Vec<(String, String)>,
    /// The body as given.
    pub body: Option<String>,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit from the start of the first attempt over all of them, in milliseconds.
    pub max_wait_ms: u32,
    /// Not to be started before.
    pub not_before: Option<Timestamp>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// What retries, when the task says so itself.
    pub retry_on: Option<RetryOn>,
    /// Higher first.
    pub priority: Priority,
    /// Follow up to three redirects.
    pub follow_redirects: bool,
    /// Called when the task has ended.
    pub on_complete_url: Option<String>,
    /// Where references to the vault are replaced beside the headers.
    pub resolve: Resolve,
    /// Credentials that were taken out of the headers, sealed.
    pub sealed: Option<SealedHeaders>,
}

/// Headers and body may hold credentials.
impl fmt::Debug for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSpec")
            .field("url", &self.url)
            .field("method", &self.method)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl TaskSpec {
    /// Checks a request.
    pub fn check(request: TaskRequest, limits: &Limits, now: Timestamp) -> Result<Self, Invalid> {
        let url = required_url("targetUrl", request.target_url.as_deref())?;
        let method = match request.method.as_deref() {
            None => Method::default(),
            Some(text) => Method::parse(text).ok_or_else(|| {
                Invalid::new(
                    "method",
                    format!(
                        "method must be one of GET, POST, PUT, DELETE, PATCH, HEAD, not {:?}",
                        shortened(text)
                    ),
                )
            })?,
        };
        check_headers(&request.headers)?;
        if let Some(body) = &request.body
            && body.len() > MAX_BODY_BYTES
        {
            return Err(Invalid::new(
                "body",
                format!(
                    "body must be at most {MAX_BODY_BYTES} bytes, not {}",
                    body.len()
                ),
            ));
        }
        let resolve = match &request.resolve {
            None => Resolve::default(),
            Some(places) => Resolve::parse(places)?,
        };
        check_references(&request.headers, &url, request.body.as_deref(), resolve)?;
        Ok(Self {
            queue: queue(request.queue.as_deref())?,
            url,
            method,
            headers: request.headers,
            body: request.body,
            timeout_ms: seconds("timeout", request.timeout_seconds, MAX_TIMEOUT)?,
            max_wait_ms: seconds("maxWaitTime", request.max_wait_seconds, limits.max_wait)?,
            not_before: not_before(request.delay_until.as_deref(), limits.max_delay, now)?,
            max_retries: whole("maxRetries", request.max_retries, 0, MAX_RETRIES)?
                .unwrap_or(DEFAULT_RETRIES),
            backoff: match request.retry_backoff.as_deref() {
                None => Backoff::default(),
                Some(text) => Backoff::parse(text).ok_or_else(|| {
                    Invalid::new(
                        "retryBackoff",
                        format!(
                            "retryBackoff must be exponential or linear, not {:?}",
                            shortened(text)
                        ),
                    )
                })?,
            },
            retry_on: request.retry_on.as_deref().map(retry_on).transpose()?,
            priority: whole("priority", request.priority, 1, 10)?
                .and_then(|value| Priority::new(u8::try_from(value).ok()?))
                .unwrap_or_default(),
            follow_redirects: request.follow_redirects.unwrap_or(false),
            on_complete_url: request
                .on_complete_url
                .as_deref()
                .map(|url| required_url("onCompleteUrl", Some(url)))
                .transpose()?,
            resolve,
            sealed: None,
        })
    }

    /// Where it refers to tokens of the vault.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        reference::references(&self.headers, &self.url, self.body.as_deref(), self.resolve)
    }

    /// Takes credentials out of the headers, which show masks from then on. They are to be sealed, and the envelope to be given to
    /// [`TaskSpec::set_sealed`] before the task is accepted.
    pub fn take_raw_credentials(&mut self, names: &CredentialHeaders<'_>) -> Option<RawHeaders> {
        debug_assert!(self.sealed.is_none(), "credentials are taken out once");
        RawHeaders::take(&mut self.headers, names)
    }

    /// Puts the sealed credentials where the event will hold them.
    pub fn set_sealed(&mut self, taken: &RawHeaders, envelope: String) {
        self.sealed = Some(SealedHeaders {
            headers: taken.places(),
            envelope,
        });
    }

    /// SHA-256 of everything that was asked for, in hex: two requests that mean the same have the same. Of a credential that was taken
    /// out, it is the mask that counts: a hash of it in the log would let it be guessed for ever.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |text: &str| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        field(self.queue.as_str());
        field(&self.url);
        field(self.method.as_str());
        field(&self.headers.len().to_string());
        for (name, value) in &self.headers {
            field(name);
            field(value);
        }
        for text in [&self.body, &self.on_complete_url] {
            field(if text.is_some() { "1" } else { "0" });
            field(text.as_deref().unwrap_or_default());
        }
        let numbers = [
            i64::from(self.timeout_ms),
            i64::from(self.max_wait_ms),
            self.not_before.map_or(-1, |at| at.0),
            i64::from(self.max_retries),
            i64::from(self.priority.get()),
            i64::from(self.follow_redirects),
        ];
        for number in numbers {
            field(&number.to_string());
        }
        field(self.backoff.as_str());
        for condition in self.retry_on.iter().flat_map(RetryOn::as_slice) {
            field(condition);
        }
        // Requests that do not use it have the fingerprints they had before it was there.
        if !self.resolve.is_headers_only() {
            for place in self.resolve.names() {
                field(place);
            }
        }
        hex::encode(hash.finalize())
    }

    /// The event that accepts it.
    #[must_use]
    pub fn accept(
        self,
        id: TaskId,
        team: TeamId,
        idempotency_key: Option<String>,
        now: Timestamp,
    ) -> TaskCreated {
        let fingerprint = idempotency_key.is_some().then(|| self.fingerprint());
        TaskCreated {
            id,
            team,
            queue: self.queue,
            url: self.url,
            method: self.method,
            headers: self.headers,
            body: self.body,
            timeout_ms: self.timeout_ms,
            max_wait_ms: self.max_wait_ms,
            not_before: self.not_before,
            max_retries: self.max_retries,
            backoff: self.backoff,
            retry_on: self.retry_on,
            priority: self.priority,
            follow_redirects: self.follow_redirects,
            on_complete_url: self.on_complete_url,
            idempotency_key,
            fingerprint,
            resolve: self.resolve,
            sealed: self.sealed,
            at: now,
        }
    }
}

/// Checks an idempotency key: 1 to 255 visible ASCII characters.
pub fn check_idempotency_key(key: &str) -> Result<(), Invalid> {
    const FIELD: &str = "Idempotency-Key";
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_CHARS {
        return Err(Invalid::new(
            FIELD,
            format!(
                "{FIELD} must be 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters, not {}",
                key.len()
            ),
        ));
    }
    if !key.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        return Err(Invalid::new(
            FIELD,
            format!("{FIELD} must be printable ASCII"),
        ));
    }
    Ok(())
}

fn required_url(field: &'static str, text: Option<&str>) -> Result<String, Invalid> {
    let invalid = |why: String| Err(Invalid::new(field, format!("{field} {why}")));
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return invalid("is required".into());
    };
    if text.len() > MAX_URL_BYTES {
        return invalid(format!(
            "must be at most {MAX_URL_BYTES} bytes, not {}",
            text.len()
        ));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("is not a valid URL: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(format!(
            "must be http or https, not {}",
            shortened(url.scheme())
        ));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return invalid("must have a host".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return invalid(
            "must not hold a user name or password; send an Authorization header instead".into(),
        );
    }
    if url.port() == Some(0) {
        return invalid("must not use port 0".into());
    }
    Ok(text.trim().to_owned())
}

fn check_headers(headers: &[(String, String)]) -> Result<(), Invalid> {
    let invalid = |why: String| Err(Invalid::new("headers", why));
    if headers.len() > MAX_HEADERS {
        return invalid(format!(
            "headers must hold at most {MAX_HEADERS} entries, not {}",
            headers.len()
        ));
    }
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_HEADER_BYTES {
        return invalid(format!(
            "headers must be at most {MAX_HEADER_BYTES} bytes together, not {bytes}"
        ));
    }
    for (name, value) in headers {
        if let Err(refused) = check_header(name, value) {
            return invalid(format!("headers: {} {refused}", shortened(name)));
        }
    }
    Ok(())
}

/// Checks all about references that can be said without knowing the tokens. That they exist is not said here.
fn check_references(
    headers: &[(String, String)],
    url: &str,
    body: Option<&str>,
    resolve: Resolve,
) -> Result<(), Invalid> {
    let all = || reference::references(headers, url, body, resolve);
    let mut any = false;
    let mut in_body = false;
    for reference in all() {
        if reference.token.is_none() {
            return Err(reference.unknown());
        }
        any = true;
        in_body |= reference.place == Place::Body;
    }
    if !any {
        return Ok(());
    }
    if reference::too_many(all()) {
        return Err(Invalid::new(
            "headers",
            format!("A task may reference at most {MAX_TOKENS} different vault tokens"),
        ));
    }
    if let (true, Some(body)) = (in_body, body) {
        replace::check_body(headers, body)?;
    }
    if !Url::parse(url).is_ok_and(|url| may_carry_secrets(&url)) {
        return Err(Invalid::new(
            "targetUrl",
            "targetUrl must be https, as the task references the vault: http would send its credentials in the clear",
        ));
    }
    Ok(())
}

fn queue(text: Option<&str>) -> Result<QueueName, Invalid> {
    text.map_or_else(
        || Ok(QueueName::default()),
        |text| {
            QueueName::parse(text).map_err(|_| {
                Invalid::new(
                    "queue",
                    format!(
                        "queue must be 1 to {} of a-z, A-Z, 0-9, _ and -, not {:?}",
                        QueueName::MAX_CHARS,
                        shortened(text)
                    ),
                )
            })
        },
    )
}

/// Seconds of a request as milliseconds: at least one, at most the limit. Without a value, the default or the limit.
fn seconds(field: &'static str, value: Option<f64>, limit: Duration) -> Result<u32, Invalid> {
    let value = value.unwrap_or_else(|| DEFAULT_SECONDS.min(limit.as_secs_f64()));
    if !(value >= 0.001 && value <= limit.as_secs_f64()) {
        return Err(Invalid::new(
            field,
            format!(
                "{field} must be more than 0 and at most {} seconds, not {value}",
                limit.as_secs()
            ),
        ));
    }
    Ok(u32::try_from(Duration::from_secs_f64(value).as_millis()).unwrap_or(u32::MAX))
}

fn whole(
    field: &'static str,
    value: Option<i64>,
    least: u16,
    most: u16,
) -> Result<Option<u16>, Invalid> {
    let Some(value) = value else { return Ok(None) };
    match u16::try_from(value) {
        Ok(small) if (least..=most).contains(&small) => Ok(Some(small)),
        _ => Err(Invalid::new(
            field,
            format!("{field} must be between {least} and {most}, not {value}"),
        )),
    }
}

fn not_before(
    text: Option<&str>,
    max_delay: Duration,
    now: Timestamp,
) -> Result<Option<Timestamp>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let Some(at) = Timestamp::parse_iso8601(text) else {
        return Err(Invalid::new(
            "delayUntil",
            format!(
                "delayUntil must be an ISO 8601 time with a zone, such as 2030-01-31T12:00:00.000Z, not {:?}",
                shortened(text)
            ),
        ));
    };
    if at.since(now) > max_delay {
        return Err(Invalid::new(
            "delayUntil",
            format!(
                "delayUntil must be at most {} days ahead",
                max_delay.as_secs() / 86_400
            ),
        ));
    }
    Ok(Some(at))
}

fn retry_on(conditions: &[String]) -> Result<RetryOn, Invalid> {
    if conditions.len() > MAX_CONDITIONS {
        return Err(Invalid::new(
            "retryOn",
            format!(
                "retryOn must hold at most {MAX_CONDITIONS} conditions, not {}",
                conditions.len()
            ),
        ));
    }
    RetryOn::parse(conditions).map_err(|wrong| {
        Invalid::new(
            "retryOn",
            format!(
                "retryOn must hold statuses (\"503\"), classes (\"3xx\", \"4xx\", \"5xx\"), \"timeout\" or \"connection\", not {:?}",
                shortened(&wrong)
            ),
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn limits() -> Limits {
        Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(15 * 86_400),
        }
    }

    fn request() -> TaskRequest {
        TaskRequest {
            target_url: Some("https://example.com/hook?x=1".into()),
            ..TaskRequest::default()
        }
    }

    fn refused(change: impl FnOnce(&mut TaskRequest)) -> Invalid {
        let mut request = request();
        change(&mut request);
        TaskSpec::check(request, &limits(), NOW).expect_err("refused")
    }

    #[test]
    fn defaults_are_the_contracts() {
        let spec = TaskSpec::check(request(), &limits(), NOW).expect("fine");
        assert_eq!(spec.method, Method::Post);
        assert_eq!((spec.timeout_ms, spec.max_wait_ms), (30_000, 30_000));
        assert_eq!(
            (spec.max_retries, spec.backoff, spec.priority.get()),
            (3, Backoff::Exponential, 5)
        );
        assert_eq!(spec.queue.as_str(), "default");
        assert_eq!(spec.url, "https://example.com/hook?x=1");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_limit() {
        let message = |change: fn(&mut TaskRequest)| refused(change).message;
        assert_eq!(message(|r| r.target_url = None), "targetUrl is required");
        assert_eq!(
            message(|r| r.max_retries = Some(25)),
            "maxRetries must be between 0 and 10, not 25"
        );
        assert_eq!(
            message(|r| r.max_retries = Some(-1)),
            "maxRetries must be between 0 and 10, not -1"
        );
        assert_eq!(
            message(|r| r.priority = Some(11)),
            "priority must be between 1 and 10, not 11"
        );
        assert_eq!(
            message(|r| r.max_wait_seconds = Some(121.0)),
            "maxWaitTime must be more than 0 and at most 120 seconds, not 121"
        );
        assert_eq!(
            message(|r| r.timeout_seconds = Some(f64::NAN)),
            "timeout must be more than 0 and at most 900 seconds, not NaN"
        );
        assert_eq!(
            message(|r| r.method = Some("TRACE".into())),
            "method must be one of GET, POST, PUT, DELETE, PATCH, HEAD, not \"TRACE\""
        );
        assert_eq!(
            message(|r| r.retry_backoff = Some("never".into())),
            "retryBackoff must be exponential or linear, not \"never\""
        );
        assert_eq!(
            message(|r| r.delay_until = Some("2050-01-01T00:00:00Z".into())),
            "delayUntil must be at most 15 days ahead"
        );
        assert_eq!(
            refused(|r| r.delay_until = Some("tomorrow".into())).field,
            "delayUntil"
        );
        assert_eq!(refused(|r| r.queue = Some("a.b".into())).field, "queue");
        assert_eq!(
            refused(|r| r.retry_on = Some(vec!["2xx".into()])).field,
            "retryOn"
        );
        assert_eq!(
            refused(|r| r.on_complete_url = Some("ftp://x".into())).message,
            "onCompleteUrl must be http or https, not ftp"
        );
        assert_eq!(
            refused(|r| r.body = Some("x".repeat(MAX_BODY_BYTES + 1))).field,
            "body"
        );
    }

    #[test]
    fn urls_that_cannot_be_called_are_refused() {
        for url in [
            "",
            "example.com",
            "/path",
            "ftp://example.com",
            "file:///etc/passwd",
            "http://",
            "https://user:pw@example.com",
            "http://exa mple.com",
            "http://x:99999",
            "http://x:0",
            "javascript:alert(1)",
        ] {
            assert_eq!(
                refused(|r| r.target_url = Some(url.into())).field,
                "targetUrl",
                "{url}"
            );
        }
    }

    #[test]
    fn headers_that_could_smuggle_are_refused() {
        for (name, value) in [
            ("X-A", "a\r\nHost: evil"),
            ("X-A", "a\u{0}"),
            ("X A", "a"),
            ("", "a"),
            ("X-A:", "a"),
            ("Host", "evil"),
            ("content-LENGTH", "0"),
            ("Transfer-Encoding", "chunked"),
            ("Waybill-Attempt", "9"),
            ("X-AsyncQueue-Signature", "t=1"),
        ] {
            assert_eq!(
                refused(|r| r.headers = vec![(name.into(), value.into())]).field,
                "headers",
                "{name}: {value:?}"
            );
        }
        assert_eq!(
            refused(|r| r.headers = vec![("A".into(), "b".into()); 101]).field,
            "headers"
        );
    }

    const TOKEN: &str = "tok_01kc0q2v9x3d8e5h7j9m1n3p5r";

    fn with_header(name: &str, value: &str) -> impl FnOnce(&mut TaskRequest) {
        let header = (name.to_owned(), value.to_owned());
        move |r| r.headers = vec![header]
    }

    #[test]
    fn references_are_found_where_the_task_names_them() {
        let mut request = request();
        request.target_url = Some(format!("https://example.com/?k={{{{{TOKEN}}}}}"));
        request.headers = vec![("X-Key".into(), TOKEN.into())];
        request.body = Some(format!("[\"{{{{{TOKEN}}}}}\"]"));
        let count = |request: &TaskRequest| {
            let spec = TaskSpec::check(request.clone(), &limits(), NOW).expect("fine");
            spec.references().count()
        };
        assert_eq!(count(&request), 1);
        request.resolve = Some(vec!["query".into(), "body".into()]);
        assert_eq!(count(&request), 3);
        request.resolve = Some(vec!["path".into()]);
        let refused = TaskSpec::check(request, &limits(), NOW).expect_err("no such place");
        assert_eq!(refused.field, "resolve");
    }

    #[test]
    fn a_malformed_reference_is_an_unknown_token() {
        assert_eq!(
            refused(with_header("Authorization", "tok_ABC")).message,
            "Header \"Authorization\" references unknown vault token \"tok_ABC\""
        );
        let refused = refused(|r| {
            r.resolve = Some(vec!["body".into()]);
            r.body = Some("{{tok_}}".into());
        });
        assert_eq!(
            (refused.field, refused.message.as_str()),
            ("body", "body references unknown vault token \"tok_\"")
        );
    }

    #[test]
    fn credentials_of_the_vault_go_nowhere_in_the_clear() {
        let to = |url: &str, value: &str| {
            let mut request = request();
            with_header("X-Key", value)(&mut request);
            request.target_url = Some(url.into());
            TaskSpec::check(request, &limits(), NOW).map_err(|invalid| invalid.field)
        };
        assert_eq!(to("http://example.com/", TOKEN).err(), Some("targetUrl"));
        assert!(to("http://example.com/", "literal").is_ok());
        assert!(to("https://example.com/", TOKEN).is_ok());
        assert!(to("http://localhost:3000/", TOKEN).is_ok());
        assert!(to("http://127.0.0.1:3000/", TOKEN).is_ok());
    }

    #[test]
    fn a_task_refers_to_so_many_tokens_at_most() {
        let tokens = |count: u32| {
            (0..count)
                .map(|n| format!("{{{{tok_01kc0q2v9x3d8e5h7j9m1n{n:04}}}}}"))
                .collect::<String>()
        };
        let check = |count| {
            let mut request = request();
            with_header("X-Key", &tokens(count))(&mut request);
            TaskSpec::check(request, &limits(), NOW)
        };
        assert!(check(20).is_ok());
        assert_eq!(
            check(21).expect_err("too many").message,
            "A task may reference at most 20 different vault tokens"
        );
    }

    #[test]
    fn a_fingerprint_knows_no_credential_that_was_taken_out() {
        let taken = |value: &str| {
            let mut request = request();
            with_header("Authorization", value)(&mut request);
            let mut spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
            let raw = spec.take_raw_credentials(&CredentialHeaders::default());
            let raw = raw.expect("one");
            spec.set_sealed(&raw, "envelope".into());
            assert_eq!(spec.headers[0].1, "Bearer ****");
            let created = spec.clone().accept(
                TaskId::new(NOW, 1, crate::partition::Partition::default()),
                TeamId::new(NOW, 2),
                None,
                NOW,
            );
            let sealed = created.sealed.expect("sealed");
            assert_eq!(
                (sealed.headers, sealed.envelope),
                (vec![0], "envelope".into())
            );
            spec.fingerprint()
        };
        assert_eq!(taken("Bearer one"), taken("Bearer two"));
    }

    #[test]
    fn where_references_are_replaced_is_part_of_a_fingerprint_only_when_it_is_said() {
        let fingerprint = |resolve: Option<&str>| {
            let mut request = request();
            request.resolve = resolve.map(|place| vec![place.to_owned()]);
            let spec = TaskSpec::check(request, &limits(), NOW).expect("fine");
            spec.fingerprint()
        };
        assert_eq!(fingerprint(None), fingerprint(Some("headers")));
        assert_ne!(fingerprint(None), fingerprint(Some("body")));
    }

    proptest! {
        #[test]
        fn no_request_makes_it_panic(url in ".{0,60}", number in any::<f64>(), whole in any::<i64>(), text in ".{0,30}") {
            let _ = TaskSpec::check(TaskRequest {
                target_url: Some(url), method: Some(text.clone()), headers: vec![(text.clone(), text.clone())],
                body: None, max_wait_seconds: Some(number), timeout_seconds: Some(number), delay_until: Some(text.clone()),
                max_retries: Some(whole), retry_backoff: None, retry_on: Some(vec![text.clone()]), priority: Some(whole),
                queue: Some(text.clone()), follow_redirects: None, on_complete_url: Some(text.clone()), resolve: Some(vec![text]),
            }, &limits(), NOW);
        }

        #[test]
        fn requests_that_differ_have_other_fingerprints(a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
            let with = |name: &str, body: &str| {
                let mut request = request();
                request.headers = vec![("x".into(), name.into())];
                request.body = Some(body.into());
                TaskSpec::check(request, &limits(), NOW).expect("fine").fingerprint()
            };
            prop_assert_eq!(with(&a, &b), with(&a, &b));
            if a != b {
                prop_assert_ne!(with(&a, &b), with(&b, &a));
            }
        }
    }
}
