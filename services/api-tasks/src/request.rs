//! What a client sends to create a task. Types are checked here, values by the core.

pub mod again;
mod headers;
pub(crate) mod limits;

use limits::CreateLimit;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_domain::egress::Egress;
use waybill_domain::event::BodyEncoding;
use waybill_domain::task::queue_defaults::Given;
use waybill_domain::task::{self, BackoffRequest, Limits, TaskRequest, TaskSpec};
use waybill_domain::time::Timestamp;
use waybill_domain::vault::{Resolve, reference};

use super::backoff::RetryBackoff;
use super::jitter::Jitter;
use super::lengths::Length;
use super::once::{DebounceTask, DedupTask, SingletonTask};
use waybill_edge::error::ApiError;

pub use headers::Headers;

/// A task to be created; no field is required. Unknown fields are ignored with a warning, those that only Waybill sets are refused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateTask {
    /// What to call: http or https. `callbackUrl` is an alias. Without it nothing is called: a worker of the team claims the task
    /// (`POST /v1/claims`), and what only a call has (`method`, `headers`, `timeout`, `maxWaitTime`, `success`, `retryOn`, `followRedirects`,
    /// `resolve`) is refused.
    #[serde(alias = "callbackUrl")]
    #[schema(
        pattern = "^https?://.",
        max_length = 8192,
        example = "https://example.com/hook",
        format = "uri"
    )]
    pub target_url: Option<String>,
    /// GET, POST, PUT, DELETE, PATCH or HEAD.
    #[schema(default = "POST", value_type = Option<task::Method>)]
    pub method: Option<String>,
    /// Headers of the call. A value that begins with `tok_` is a token of the vault, and so is `{{tok_...}}` within a longer one
    /// (`Bearer {{tok_...}}`): the token's value is sent in its place. Credentials given directly (`Authorization`, `Cookie`,
    /// `Proxy-Authorization`, `X-Api-Key` and the names that the team adds) are sealed for this task, and shown as `Bearer ****`.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub headers: Option<Headers>,
    /// Body of the call; not sent with GET and HEAD.
    pub body: Option<String>,
    /// How `body` is written: `text`, or `base64` for bytes that are not text.
    #[schema(default = "text", value_type = Option<BodyEncoding>)]
    pub body_encoding: Option<String>,
    /// Instead of `body`: a value that is sent as JSON, with `Content-Type: application/json` unless `headers` names another type.
    #[schema(value_type = Option<Object>)]
    pub json: Option<Box<RawValue>>,
    /// The longest that one exchange with the target, or one wait for a callback, may take, in seconds. Pauses between attempts and time
    /// in the queue do not count. Bounded by the plan; without it, the greater of 30 and `timeout`.
    #[schema(default = 30, minimum = 0.001, maximum = 3600)]
    pub max_wait_time: Option<f64>,
    /// Seconds for each attempt: at most 900, `maxWaitTime` and what the plan allows.
    #[schema(default = 30, minimum = 0.001, maximum = 900)]
    pub timeout: Option<f64>,
    /// Not before this time (ISO 8601).
    #[schema(example = "2030-01-31T12:00:00.000Z", format = DateTime)]
    pub delay_until: Option<String>,
    /// Instead of `delayUntil`: the time from now, such as `90s`, `5m`, `1h30m` or `7d`, or a number of seconds. At most 366 days.
    #[schema(value_type = Option<String>, example = "5m")]
    pub delay: Option<Length>,
    /// Nothing happens to the task after this time (ISO 8601): it ends as `timeout`, with `endReason` `expired`.
    #[schema(example = "2030-01-31T18:00:00.000Z", format = DateTime)]
    pub deadline: Option<String>,
    /// Instead of `deadline`: the time from the creation, such as `6h`, or a number of seconds. At most 366 days.
    #[schema(value_type = Option<String>, example = "6h")]
    pub expires_in: Option<Length>,
    /// Which answers are a success, such as `2xx` or `2xx,404`. Any other answer fails then, and is repeated as `retryOn` says. Without it,
    /// every answer below 500 but 408, 425 and 429 completes the task, and `ok` tells whether it was a 2xx.
    #[schema(example = "2xx,404")]
    pub success: Option<String>,
    /// Up to 10 words, of at most 64 characters each, to find the task by. Repeated in events and webhooks.
    #[schema(example = json!(["invoices"]))]
    pub tags: Option<Vec<String>>,
    /// Texts of your own, at most 4096 bytes. Repeated in events and webhooks.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>)]
    pub metadata: Option<Headers>,
    /// Retries after the first attempt, 0 to 10. Without it 3, or as many as `retryBackoff` lists.
    #[schema(default = 3, minimum = 0, maximum = 10)]
    pub max_retries: Option<i64>,
    /// Instead of `maxRetries`, and up to 100: all attempts that count, the first one included. Both may be given if they say the same.
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: Option<i64>,
    /// The pauses between attempts: `exponential` (1, 2, 4, 8 ... s), `linear` (1, 2, 3 ... s), `fixed` (1, 1, 1 ... s), `overnight` (10 retries over almost 14
    /// hours, for a target that may be down for a night), or a list of up to 10 lengths such as `["10s", "5m", "2h"]`. `overnight` and a
    /// list also say how many retries there are, unless `maxRetries` does; the last pause of a list repeats.
    #[schema(default = "exponential")]
    pub retry_backoff: Option<RetryBackoff>,
    /// The shortest pause, from which `exponential` and `linear` grow and which `fixed` repeats: 1 s to 24 h, such as `30s`, or a number of
    /// seconds. At most the shortest pause of a list. A target that asks for less by `Retry-After` waits as long.
    #[schema(value_type = Option<String>, example = "30s", default = "1s")]
    pub min_delay: Option<Length>,
    /// The longest pause, jitter included: 1 s to 24 h. Up to it a `Retry-After` is heard. At least `minDelay`, and the longest pause of a
    /// list. Without it, pauses that grow and `Retry-After` end at an hour, jitter not included.
    #[schema(value_type = Option<String>, example = "10m")]
    pub max_delay: Option<Length>,
    /// The most that is added to each pause, drawn evenly: `none`, `tenth`, `full` (as much again: a pause of 4 s lasts 4 to 8 s), or a
    /// share of the pause from 0 to 1.
    #[schema(default = "tenth")]
    pub jitter: Option<Jitter>,
    /// No retry begins later than this after the creation, such as `2h`, or a number of seconds; at most 366 days. The task then ends as
    /// `failed` with its last error. Unlike `expiresIn`, it neither cuts an attempt short nor ends a task that has not failed yet.
    #[schema(value_type = Option<String>, example = "2h")]
    pub max_age: Option<Length>,
    /// What retries instead of the default: statuses (`503`), classes (`5xx`), `timeout`, `connection`.
    pub retry_on: Option<Vec<String>>,
    /// 1 to 10, higher first among tasks of the same `queue` and `fairnessKey`. A task that waits counts as one of the next higher priority
    /// after each 5 minutes.
    #[schema(default = 5, minimum = 1, maximum = 10)]
    pub priority: Option<i64>,
    /// Whose turn it takes within its queue, such as a customer: at most 128 characters. Tasks of different keys start in turn, however many
    /// tasks each of them has; all tasks without a key share one turn.
    #[schema(min_length = 1, max_length = 128, example = "customer-17")]
    pub fairness_key: Option<String>,
    /// How many tasks of its `fairnessKey` start in a turn of that key, 1 to 100. Tasks of one key should say the same; if they differ, the
    /// one that became ready last counts.
    #[schema(minimum = 1, maximum = 100, example = 3)]
    pub fairness_weight: Option<i64>,
    /// Tasks of a queue with the same key run one after the other, in the order in which they were created: each starts when the one before
    /// it has ended, after all of its attempts. At most 128 characters.
    #[schema(min_length = 1, max_length = 128, example = "order-4711")]
    pub ordering_key: Option<String>,
    /// What follows when this task ends as `failed` or `timeout`: `skip` starts the next one with the same `orderingKey`, `cancelRest` cancels
    /// all that were created by then, `block` keeps them waiting until the failed one is retried or unblocked.
    #[schema(value_type = Option<task::OnFailure>, default = "skip")]
    pub on_failure: Option<String>,
    /// Of tasks of the queue with the same key that follow each other closely, one runs when they have ceased to come; the others end as
    /// `cancelled`, with `endReason` `superseded` and its id in `supersededBy`. Not together with `delay`, `delayUntil` or `orderingKey`.
    pub debounce: Option<DebounceTask>,
    /// At most one task of the queue with the same key runs at a time. Not together with `debounce` or `orderingKey`.
    pub singleton: Option<SingletonTask>,
    /// Ends this task without a call, if another one with the same key was accepted shortly before. Not together with `debounce` or `singleton`.
    pub dedup: Option<DedupTask>,
    /// 1 to 100 of a-z, A-Z, 0-9, _ and -.
    #[schema(default = "default", pattern = "^[a-zA-Z0-9_-]{1,100}$")]
    pub queue: Option<String>,
    /// Follow up to three redirects.
    #[schema(default = false)]
    pub follow_redirects: Option<bool>,
    /// The URL that gets the completion webhook when the task has ended.
    #[schema(format = "uri")]
    pub on_complete_url: Option<String>,
    /// Where `{{tok_...}}` stands for a token of the vault: `headers` (always), `query` (of `targetUrl`) and `body`. Values are
    /// percent-encoded in a query, escaped in a JSON body, and form-encoded in a form.
    #[schema(example = json!(["headers", "body"]))]
    pub resolve: Option<Vec<String>>,
    /// Up to 4 limits that it shares with other tasks of the team, in any queue. It starts only while each of them lets it. What the task
    /// says that was created last holds for a key, among those that run or wait to start; what was set with `PUT /v1/limits/{key}` beats all of them.
    #[schema(max_items = 4)]
    pub limits: Option<Vec<CreateLimit>>,
    /// What follows, beside the retry, from an answer 429 with `Retry-After`: `pauseKey` pauses the first of its `limits` for that long, at most
    /// `maxDelay` or an hour. No task with that key starts meanwhile.
    #[schema(value_type = Option<task::OnRateLimited>, example = "pauseKey")]
    pub on_rate_limited: Option<String>,
    /// In a batch: makes a repeated creation of this task the first one again.
    pub idempotency_key: Option<String>,
    #[schema(ignore)]
    provider: Option<IgnoredAny>,
    #[schema(ignore)]
    poll_config: Option<IgnoredAny>,
    /// From here on, fields that only Waybill sets. A client that sends one expects an effect, so it is refused.
    #[schema(ignore)]
    id: Option<IgnoredAny>,
    #[schema(ignore)]
    team_id: Option<IgnoredAny>,
    #[schema(ignore)]
    plan: Option<IgnoredAny>,
    #[schema(ignore)]
    status: Option<IgnoredAny>,
    #[schema(ignore)]
    result: Option<IgnoredAny>,
    #[schema(ignore)]
    retry_count: Option<IgnoredAny>,
    #[schema(ignore)]
    created_at: Option<IgnoredAny>,
    #[schema(ignore)]
    updated_at: Option<IgnoredAny>,
    #[schema(ignore)]
    started_at: Option<IgnoredAny>,
    #[schema(ignore)]
    completed_at: Option<IgnoredAny>,
    #[schema(ignore)]
    ok: Option<IgnoredAny>,
    #[schema(ignore)]
    end_reason: Option<IgnoredAny>,
    #[schema(ignore)]
    error: Option<IgnoredAny>,
    #[schema(ignore)]
    attempts: Option<IgnoredAny>,
    #[schema(ignore)]
    webhook: Option<IgnoredAny>,
    #[schema(ignore)]
    cancel_requested: Option<IgnoredAny>,
    #[schema(ignore)]
    body_bytes: Option<IgnoredAny>,
    #[schema(ignore)]
    truncated: Option<IgnoredAny>,
    #[schema(ignore)]
    environment: Option<IgnoredAny>,
    #[schema(ignore)]
    superseded_by: Option<IgnoredAny>,
    #[schema(ignore)]
    skipped_for: Option<IgnoredAny>,
    #[schema(ignore)]
    duplicate_of: Option<IgnoredAny>,
    #[schema(ignore)]
    schedule: Option<IgnoredAny>,
    #[schema(ignore)]
    workflow: Option<IgnoredAny>,
}

/// JSON as it was given, without the white space between its parts. Parsed and written again, long numbers and the order of members would
/// change.
fn compact(json: &RawValue) -> String {
    let mut compact = String::with_capacity(json.get().len());
    let (mut is_in_text, mut is_escaped) = (false, false);
    for c in json.get().chars() {
        if is_in_text {
            is_in_text = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            is_in_text = c == '"';
        }
        compact.push(c);
    }
    compact
}

impl CreateTask {
    /// Whether anything in it refers to the vault. May be asked before the request is checked.
    pub fn refers_to_vault(&self) -> bool {
        let headers = self.headers.as_ref().map_or(&[][..], |headers| &headers.0);
        let url = self.target_url.as_deref().unwrap_or_default();
        let resolve = self.resolve.as_deref().unwrap_or_default();
        // An invalid place is refused with the rest.
        let resolve = Resolve::parse(resolve).unwrap_or_default();
        reference::references(headers, url, self.body.as_deref(), resolve)
            .next()
            .is_some()
    }

    /// What of the settings of a queue it gives itself.
    pub(crate) fn given(&self) -> Given {
        let backoff = self.retry_backoff.is_some();
        Given {
            windows: self.timeout.is_some() || self.max_wait_time.is_some(),
            retries: self.max_retries.is_some() || self.max_attempts.is_some() || backoff,
            pauses: backoff || self.min_delay.is_some() || self.max_delay.is_some(),
            jitter: self.jitter.is_some(),
            max_age: self.max_age.is_some(),
        }
    }

    /// Checks every value, but not whether the tokens that it names exist.
    pub fn check(
        self,
        limits: &Limits,
        egress: &Egress,
        now: Timestamp,
    ) -> Result<TaskSpec, ApiError> {
        for (field, given) in [
            ("provider", self.provider.is_some()),
            ("pollConfig", self.poll_config.is_some()),
        ] {
            if given {
                let message =
                    format!("{field} is not available: polling tasks are not offered here");
                return Err(ApiError::bad_field(field, message));
            }
        }
        for (field, given) in [
            ("id", self.id.is_some()),
            ("teamId", self.team_id.is_some()),
            ("plan", self.plan.is_some()),
            ("status", self.status.is_some()),
            ("result", self.result.is_some()),
            ("retryCount", self.retry_count.is_some()),
            ("createdAt", self.created_at.is_some()),
            ("updatedAt", self.updated_at.is_some()),
            ("startedAt", self.started_at.is_some()),
            ("completedAt", self.completed_at.is_some()),
            ("ok", self.ok.is_some()),
            ("endReason", self.end_reason.is_some()),
            ("error", self.error.is_some()),
            ("attempts", self.attempts.is_some()),
            ("webhook", self.webhook.is_some()),
            ("cancelRequested", self.cancel_requested.is_some()),
            ("bodyBytes", self.body_bytes.is_some()),
            ("truncated", self.truncated.is_some()),
            ("supersededBy", self.superseded_by.is_some()),
            ("skippedFor", self.skipped_for.is_some()),
            ("duplicateOf", self.duplicate_of.is_some()),
            ("schedule", self.schedule.is_some()),
            ("workflow", self.workflow.is_some()),
        ] {
            if given {
                let message = format!("{field} is set by Waybill and cannot be sent");
                return Err(ApiError::bad_field(field, message));
            }
        }
        if self.environment.is_some() {
            let message = "environment is that of the API key and cannot be sent";
            return Err(ApiError::bad_field("environment", message));
        }
        let mut headers = self.headers.unwrap_or_default().0;
        let body = match (self.body, self.json) {
            (Some(_), Some(_)) => {
                return Err(ApiError::bad_field(
                    "json",
                    "json and body are both the body of the call; give one of them",
                ));
            }
            (body, None) => body,
            (None, Some(json)) => {
                if self.body_encoding.is_some() {
                    return Err(ApiError::bad_field(
                        "bodyEncoding",
                        "bodyEncoding says how body is written; json needs none",
                    ));
                }
                let named = headers
                    .iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
                // Without a call there are no headers: whoever claims the task gets the body.
                if !named && self.target_url.is_some() {
                    headers.push(("Content-Type".into(), "application/json".into()));
                }
                Some(compact(&json))
            }
        };
        let request = TaskRequest {
            target_url: self.target_url,
            method: self.method,
            headers,
            body,
            body_encoding: self.body_encoding,
            max_wait_seconds: self.max_wait_time,
            timeout_seconds: self.timeout,
            delay_until: self.delay_until,
            delay: self.delay.map(|length| length.0),
            deadline: self.deadline,
            expires_in: self.expires_in.map(|length| length.0),
            success: self.success,
            tags: self.tags,
            metadata: self.metadata.map(|entries| entries.0),
            max_retries: self.max_retries,
            max_attempts: self.max_attempts,
            retry_backoff: self.retry_backoff.map(BackoffRequest::from),
            min_delay: self.min_delay.map(|length| length.0),
            max_delay: self.max_delay.map(|length| length.0),
            jitter: self.jitter.map(Into::into),
            max_age: self.max_age.map(|length| length.0),
            retry_on: self.retry_on,
            priority: self.priority,
            fairness_key: self.fairness_key,
            ordering_key: self.ordering_key,
            on_failure: self.on_failure,
            queue: self.queue,
            follow_redirects: self.follow_redirects,
            on_complete_url: self.on_complete_url,
            resolve: self.resolve,
            fairness_weight: self.fairness_weight,
            debounce: self.debounce.map(Into::into),
            singleton: self.singleton.map(Into::into),
            dedup: self.dedup.map(Into::into),
            on_rate_limited: self.on_rate_limited,
            limits: self
                .limits
                .map(|limits| limits.into_iter().map(Into::into).collect()),
        };
        let spec = TaskSpec::check(request, limits, now)?;
        if !spec.is_pulled() {
            may_call(egress, "targetUrl", &spec.url)?;
        }
        if let Some(url) = &spec.on_complete_url {
            may_call(egress, "onCompleteUrl", url)?;
        }
        Ok(spec)
    }
}

/// Refuses a target whose address alone shows that it may not be called; the task would only fail later.
fn may_call(egress: &Egress, field: &'static str, url: &str) -> Result<(), ApiError> {
    egress
        .parse_target(url)
        .map(drop)
        .map_err(|refused| ApiError::bad_field(field, format!("{field} {refused}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use waybill_edge::body::parse;

    fn check(json: &str) -> Result<TaskSpec, ApiError> {
        let limits = Limits {
            max_wait: Duration::from_secs(30),
            max_delay: Duration::from_secs(86_400),
        };
        parse::<CreateTask>(json.as_bytes())?.check(&limits, &Egress::strict(), Timestamp(0))
    }

    fn refused(json: &str) -> (u16, String, Option<String>) {
        let error = check(json).expect_err(json);
        (
            error.status.as_u16(),
            error.body.error.to_string(),
            error.body.field.as_ref().map(ToString::to_string),
        )
    }

    #[test]
    fn json_is_sent_as_it_was_given() {
        let sent = |json: &str| {
            let task = format!(r#"{{"targetUrl": "https://example.com", "json": {json}}}"#);
            check(&task).expect(json).body
        };
        for (given, body) in [
            (
                r#"{"b": 123456789012345678901, "a" : 0.10}"#,
                r#"{"b":123456789012345678901,"a":0.10}"#,
            ),
            (
                "[ 1e400,\t-0 , \"a \\\" b\\\\\" ]",
                r#"[1e400,-0,"a \" b\\"]"#,
            ),
            (r#"" ""#, r#"" ""#),
            ("\n1 ", "1"),
        ] {
            assert_eq!(sent(given).as_deref(), Some(body), "{given}");
        }
    }

    #[test]
    fn wrong_types_are_named() {
        for (json, field, message) in [
            (
                r#"{"targetUrl": 7}"#,
                "targetUrl",
                "targetUrl: invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"targetUrl": "https://a.example", "headers": {"X-A": 1}}"#,
                "headers.X-A",
                "headers.X-A: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"targetUrl": "https://a.example", "headers": []}"#,
                "headers",
                "headers: invalid type: sequence, expected an object of strings",
            ),
            (
                r#"{"targetUrl": "https://a.example", "maxRetries": 2.5}"#,
                "maxRetries",
                "maxRetries: invalid type: floating point `2.5`, expected i64",
            ),
            (
                r#"{"targetUrl": "https://a.example", "body": {"a": 1}}"#,
                "body",
                "body: invalid type: map, expected a string",
            ),
        ] {
            assert_eq!(refused(json), (400, message.into(), Some(field.into())));
        }
    }

    #[test]
    fn nulls_count_as_not_given_and_unknown_fields_are_ignored() {
        let spec = check(
            r#"{"callbackUrl": "https://a.example/x", "headers": null, "body": null, "provider": null, "colour": {"deep": [1]}}"#,
        )
        .expect("fine");
        assert_eq!(spec.url, "https://a.example/x");
    }

    #[test]
    fn json_is_the_body_and_says_so() {
        let spec =
            check(r#"{"targetUrl": "https://a.example", "json": {"b": [1, null]}}"#).expect("fine");
        assert_eq!(spec.body.as_deref(), Some(r#"{"b":[1,null]}"#));
        assert_eq!(
            spec.headers,
            [("Content-Type".to_owned(), "application/json".to_owned())]
        );
        let typed = r#"{"targetUrl": "https://a.example", "json": 1, "headers": {"content-type": "application/x"}}"#;
        let spec = check(typed).expect("fine");
        assert_eq!(spec.headers.len(), 1, "a type of one's own stays");
        for (both, field) in [
            (r#""json": 1, "body": "2""#, "json"),
            (r#""json": 1, "bodyEncoding": "base64""#, "bodyEncoding"),
        ] {
            let refused = refused(&format!(r#"{{"targetUrl": "https://a.example", {both}}}"#));
            assert_eq!((refused.0, refused.2.as_deref()), (400, Some(field)));
        }
    }

    #[test]
    fn lengths_come_as_texts_and_as_numbers() {
        for length in [r#""2m""#, "120", "120.0"] {
            let spec = check(&format!(
                r#"{{"targetUrl": "https://a.example", "delay": {length}, "expiresIn": "1h"}}"#
            ))
            .expect(length);
            assert_eq!(spec.not_before, Some(Timestamp(120_000)), "{length}");
            assert_eq!(spec.expires_in_ms, Some(3_600_000));
        }
        let refused = refused(r#"{"targetUrl": "https://a.example", "delay": true}"#);
        assert_eq!((refused.0, refused.2.as_deref()), (400, Some("delay")));
    }

    #[test]
    fn what_is_not_offered_is_said() {
        let polling = refused(r#"{"targetUrl": "https://a.example", "pollConfig": {}}"#);
        assert_eq!((polling.0, polling.2.as_deref()), (400, Some("pollConfig")));
        let path = refused(r#"{"targetUrl": "https://a.example", "resolve": ["path"]}"#);
        assert_eq!((path.0, path.2.as_deref()), (400, Some("resolve")));
    }

    #[test]
    fn references_are_seen_before_anything_is_checked() {
        let refers = |json: &str| {
            let task = parse::<CreateTask>(json.as_bytes()).expect("right types");
            task.refers_to_vault()
        };
        assert!(refers(r#"{"headers": {"Authorization": "tok_1"}}"#));
        assert!(refers(r#"{"headers": {"A": "Bearer {{tok_1}}"}}"#));
        assert!(refers(
            r#"{"targetUrl": "https://a.example/?{{tok_1}}", "resolve": ["query"]}"#
        ));
        assert!(refers(r#"{"body": "{{tok_1}}", "resolve": ["body"]}"#));
        assert!(!refers(
            r#"{"body": "{{tok_1}}", "headers": {"A": "Bearer tok_1"}}"#
        ));
        let task = parse::<CreateTask>(br#"{"headers": {"Authorization": "Bearer hunter2"}}"#);
        let shown = format!("{:?}", task.expect("right types"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn targets_inside_are_refused_at_creation() {
        for url in [
            "http://127.0.0.1/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://2130706433/",
        ] {
            let (status, message, field) = refused(&format!(r#"{{"targetUrl": "{url}"}}"#));
            assert_eq!(
                (status, field.as_deref()),
                (400, Some("targetUrl")),
                "{url}: {message}"
            );
        }
    }

    #[test]
    fn a_header_given_twice_counts_once_and_many_are_not_compared() {
        let twice = parse::<Headers>(br#"{"a": "1", "b": "2", "a": "3"}"#).expect("fine");
        assert_eq!(
            twice.0,
            [("a".into(), "3".into()), ("b".into(), "2".into())]
        );
    }
}
