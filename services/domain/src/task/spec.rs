//! Validation of requests: a request is checked once, here, and becomes a [`TaskSpec`].

mod call;
mod fingerprint;
mod labels;
mod limits;
mod once;
mod order;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::event::{BodyEncoding, SealedHeaders, TaskCreated};
use crate::flow::MemberOf;
use crate::id::{EpochId, QueueName, TaskId, TeamId};
use crate::limit::TaskLimit;
use crate::recurring::RunOf;
use crate::task::bounds::{self, RetryBounds};
use crate::task::job::JobTerms;
use crate::task::method::Method;
use crate::task::once::{OnDuplicate, Once};
use crate::task::ordering::Ordering;
use crate::task::pauses::{self, OwnPauses};
use crate::task::priority::Priority;
use crate::task::rate_limited::OnRateLimited;
use crate::task::request::{Invalid, Limits, TaskRequest};
use crate::task::retry::{Backoff, RetryOn};
use crate::task::success::Success;
use crate::time::Timestamp;
use crate::vault::reference::{self, Reference, Resolve};
use crate::vault::{CredentialHeaders, RawHeaders};
use call::{
    body_encoding, check_body, check_headers, check_references, method, required_url, target,
};
use labels::{metadata, tags};
use limits::{limits, on_rate_limited};
pub(crate) use order::retry_on;
use order::{key, ordering, queue, retries, weight, whole};
use time::{deadline, expires_in, not_before, windows};

/// Limit of a URL, in bytes.
pub const MAX_URL_BYTES: usize = 8_192;
/// Limit of headers per task.
pub const MAX_HEADERS: usize = 100;
/// Limit of all header names and values together, in bytes.
pub const MAX_HEADER_BYTES: usize = 32_768;
/// Limit of the body, in bytes. HTTP requests have the same limit as a whole, so this only matters
/// to other callers.
pub const MAX_BODY_BYTES: usize = 1_048_576;
/// Limit of tags per task.
pub const MAX_TAGS: usize = 10;
/// Limit of a tag, in characters.
pub const MAX_TAG_CHARS: usize = 64;
/// Limit of all names and values of the metadata together, in bytes.
pub const MAX_METADATA_BYTES: usize = 4_096;
/// Limit of `maxRetries`, and of the pauses that a task lists.
pub const MAX_RETRIES: u16 = 10;
/// Highest weight of a fairness key and of a queue.
pub const MAX_WEIGHT: u8 = 100;
/// Limit of `fairnessKey` and `orderingKey`, in characters.
pub const MAX_KEY_CHARS: usize = 128;
/// Limit of `maxAttempts`: all attempts of a task that count, the first one included.
pub const MAX_COUNTED_ATTEMPTS: u16 = 100;
/// Largest time limit of one attempt.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(900);
/// Limit of an idempotency key, in characters.
pub const MAX_IDEMPOTENCY_KEY_CHARS: usize = 255;
/// Default of the time limits `timeout` and `maxWaitTime`.
pub const DEFAULT_SECONDS: f64 = 30.0;
/// Retries of a task that sets neither their number nor its own pauses.
pub const DEFAULT_RETRIES: u16 = 3;

/// A validated request for a task, with every default filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// The queue of the task.
    pub queue: QueueName,
    /// The target's URL: http or https, with a host and without credentials. Empty if workers claim
    /// the task.
    pub url: String,
    pub method: Method,
    /// Headers as given, in order; valid in HTTP.
    pub headers: Vec<(String, String)>,
    /// The body as given.
    pub body: Option<String>,
    /// Encoding of the body.
    pub body_encoding: BodyEncoding,
    /// Time limit of one attempt, in milliseconds.
    pub timeout_ms: u32,
    /// Time limit of one exchange with the target, or of one wait for a callback, in milliseconds.
    /// Never below `timeout_ms`.
    pub max_wait_ms: u32,
    /// The first attempt does not start earlier.
    pub not_before: Option<Timestamp>,
    /// The delay from acceptance to `not_before`, if the client gave a length and no date.
    pub delay: Option<Duration>,
    /// Retries after the first attempt.
    pub max_retries: u16,
    /// How the pause before a retry grows.
    pub backoff: Backoff,
    /// Pauses before retries that the task lists itself; empty if it lists none.
    pub retry_pauses: OwnPauses,
    /// Bounds of pauses and retries.
    pub retry_bounds: RetryBounds,
    /// Conditions for a retry, if the task sets them.
    pub retry_on: Option<RetryOn>,
    /// Answers that count as a success; `None` for the contract's rule.
    pub success: Option<Success>,
    /// After this date, the task is not worked on.
    pub deadline: Option<Timestamp>,
    /// Milliseconds after acceptance when the task expires.
    pub expires_in_ms: Option<u64>,
    /// Words chosen by the client, to search for.
    pub tags: Vec<String>,
    /// Texts chosen by the client, returned in events and webhooks.
    pub metadata: BTreeMap<String, String>,
    /// Pauses between deliveries of the completion webhook, in seconds. Empty: the platform's
    /// pauses.
    pub webhook_pauses: Vec<u32>,
    /// From 1 to 10; higher ones are served first.
    pub priority: Priority,
    /// Whose turn the task takes among the tasks of its queue.
    pub fairness_key: Option<String>,
    /// The task starts after the end of those that were created before it with the same key.
    pub ordering: Option<Ordering>,
    /// Whether to follow up to three redirects.
    pub follow_redirects: bool,
    /// URL to call when the task has ended.
    pub on_complete_url: Option<String>,
    /// Where vault references are replaced, besides the headers.
    pub resolve: Resolve,
    /// Credentials that were removed from the headers, sealed.
    pub sealed: Option<SealedHeaders>,
    /// The ended task that it does again.
    pub replay_of: Option<TaskId>,
    /// How many tasks of its fairness key start in a turn; `None`: one.
    pub fairness_weight: Option<u8>,
    /// What it shares with others that name the same key.
    pub once: Option<Box<Once>>,
    /// The limits that it shares with other tasks.
    pub limits: Vec<TaskLimit>,
    /// The run of a schedule that it is.
    pub schedule: Option<Box<RunOf>>,
    /// What follows, beside a retry, when the target says that it is called too often.
    pub on_rate_limited: Option<OnRateLimited>,
    /// The member of a workflow that it is.
    pub member: Option<Box<MemberOf>>,
    /// What the jobs API keeps of it.
    pub job: Option<Box<JobTerms>>,
    /// Whether nothing is captured of what its calls send and are answered.
    pub no_capture: bool,
}

/// Headers and body may contain credentials, so `Debug` does not show them.
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
    /// Whether whoever creates the task wants to be refused if it is a duplicate.
    #[must_use]
    pub fn rejects_duplicates(&self) -> bool {
        let dedup = self.once.as_deref().and_then(Once::dedup);
        dedup.is_some_and(|dedup| dedup.on_duplicate == OnDuplicate::Reject)
    }

    /// Validates a request.
    pub fn check(
        mut request: TaskRequest,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Self, Invalid> {
        let url = target(&request)?;
        let method = method(request.method.as_deref())?;
        check_headers(&request.headers)?;
        check_body(request.body.as_deref())?;
        let resolve = match &request.resolve {
            None => Resolve::default(),
            Some(places) => Resolve::parse(places)?,
        };
        let body_encoding = body_encoding(
            request.body_encoding.as_deref(),
            request.body.as_deref(),
            resolve,
        )?;
        let (timeout_ms, max_wait_ms) = windows(&request, limits)?;
        let not_before = not_before(&request, limits.max_delay, now)?;
        let deadline = deadline(request.deadline.as_deref(), not_before, now)?;
        let expires_in = expires_in(request.expires_in.as_ref(), not_before, limits, now)?;
        let once = once::once(&mut request, deadline, expires_in, now)?;
        check_references(&request.headers, &url, request.body.as_deref(), resolve)?;
        let (backoff, retry_pauses) = pauses::read(request.retry_backoff.as_ref())?;
        let retry_bounds = bounds::read(&request, &retry_pauses, limits)?;
        let usual_retries = match retry_pauses.retries() {
            0 => DEFAULT_RETRIES,
            listed => listed,
        };
        Ok(Self {
            queue: queue(request.queue.as_deref())?,
            url,
            method,
            headers: request.headers,
            body: request.body,
            body_encoding,
            timeout_ms,
            max_wait_ms,
            not_before,
            delay: request
                .delay
                .as_ref()
                .and(not_before)
                .map(|at| at.since(now)),
            deadline,
            expires_in_ms: expires_in
                .map(|length| u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
            success: request
                .success
                .as_deref()
                .map(|text| {
                    Success::parse(text).map_err(|bad| Invalid::new("success", bad.to_string()))
                })
                .transpose()?,
            tags: tags(request.tags.unwrap_or_default())?,
            metadata: metadata(request.metadata.unwrap_or_default())?,
            webhook_pauses: Vec::new(),
            max_retries: retries(request.max_retries, request.max_attempts)?
                .unwrap_or(usual_retries),
            backoff,
            retry_pauses,
            retry_bounds,
            retry_on: request.retry_on.as_deref().map(retry_on).transpose()?,
            priority: whole("priority", request.priority, 1, 10)?
                .and_then(|value| Priority::new(u8::try_from(value).ok()?))
                .unwrap_or_default(),
            fairness_weight: weight(request.fairness_weight, request.fairness_key.as_deref())?,
            fairness_key: key("fairnessKey", request.fairness_key)?,
            ordering: ordering(request.ordering_key, request.on_failure.as_deref())?,
            follow_redirects: request.follow_redirects.unwrap_or(false),
            on_complete_url: request
                .on_complete_url
                .as_deref()
                .map(|url| required_url("onCompleteUrl", Some(url)))
                .transpose()?,
            resolve,
            sealed: None,
            replay_of: None,
            once,
            on_rate_limited: on_rate_limited(
                request.on_rate_limited.as_deref(),
                request.limits.as_deref(),
            )?,
            limits: self::limits(request.limits.unwrap_or_default())?,
            schedule: None,
            member: None,
            job: None,
            no_capture: false,
        })
    }

    /// Whether workers of the team claim the task, instead of a target being called.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.url.is_empty()
    }

    /// The references to vault tokens in the request.
    pub fn references(&self) -> impl Iterator<Item = Reference<'_>> {
        reference::references(&self.headers, &self.url, self.body.as_deref(), self.resolve)
    }

    /// Removes credentials from the headers, which have masks from then on. Seal the returned
    /// headers, and pass the envelope to [`TaskSpec::set_sealed`] before the task is accepted.
    pub fn take_raw_credentials(&mut self, names: &CredentialHeaders<'_>) -> Option<RawHeaders> {
        debug_assert!(self.sealed.is_none(), "credentials are taken out once");
        RawHeaders::take(&mut self.headers, names)
    }

    /// Adds the sealed credentials, which the event will carry.
    pub fn set_sealed(&mut self, taken: &RawHeaders, envelope: String, epoch: EpochId) {
        self.sealed = Some(SealedHeaders {
            headers: taken.places(),
            envelope,
            epoch: Some(epoch),
        });
    }

    /// The event that accepts the task.
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
            body_encoding: self.body_encoding,
            timeout_ms: self.timeout_ms,
            max_wait_ms: self.max_wait_ms,
            not_before: self.not_before,
            max_retries: self.max_retries,
            backoff: self.backoff,
            retry_pauses: self.retry_pauses,
            retry_bounds: self.retry_bounds,
            retry_on: self.retry_on,
            success: self.success,
            deadline: self.deadline,
            expires_in_ms: self.expires_in_ms,
            tags: self.tags,
            metadata: self.metadata,
            webhook_pauses: self.webhook_pauses,
            // The plan determines this, not the client.
            max_answer_bytes: None,
            priority: self.priority,
            fairness_key: self.fairness_key,
            ordering: self.ordering,
            follow_redirects: self.follow_redirects,
            on_complete_url: self.on_complete_url,
            idempotency_key,
            fingerprint,
            resolve: self.resolve,
            sealed: self.sealed,
            replay_of: self.replay_of,
            fairness_weight: self.fairness_weight,
            at: now,
            once: self.once,
            limits: self.limits,
            schedule: self.schedule,
            on_rate_limited: self.on_rate_limited,
            member: self.member,
            created_by: None,
            job: self.job,
            no_capture: self.no_capture,
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
