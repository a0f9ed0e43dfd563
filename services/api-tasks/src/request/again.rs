//! The request of a task that does an ended one again: what the client gives, and otherwise what the ended one had.

use std::borrow::Cow;

use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use waybill_domain::event::TaskCreated;
use waybill_domain::task::spec::MAX_RETRIES;
use waybill_domain::task::{self, Once, OwnPauses};
use waybill_domain::vault::is_mask;

use super::limits::CreateLimit;
use super::{CreateTask, Headers};
use crate::backoff::RetryBackoff;
use crate::jitter::Jitter;
use crate::lengths::Length;
use crate::once::SingletonTask;

/// What a replay changes, as it is described: the members of a creation, none of which is required or has a default. It is read as a
/// [`CreateTask`].
#[derive(Debug)]
pub struct ReplayTask;

impl PartialSchema for ReplayTask {
    fn schema() -> RefOr<Schema> {
        let mut schema = CreateTask::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.description = Some("What differs from the old task".into());
            object.required.clear();
            for property in object.properties.values_mut() {
                if let RefOr::T(Schema::Object(property)) = property {
                    property.default = None;
                }
            }
        }
        schema
    }
}

impl ToSchema for ReplayTask {
    fn name() -> Cow<'static, str> {
        "ReplayTask".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        CreateTask::schemas(schemas);
    }
}

impl CreateTask {
    /// Whether a replay needs nothing of the credentials that the ended task brought along, which are gone.
    pub(crate) fn replaces_credentials_of(&self, old: &TaskCreated) -> bool {
        let had = old.sealed.is_some() || old.headers.iter().any(|(_, value)| is_mask(value));
        self.headers.is_some() || !had
    }

    /// What changes nothing but the dates, which a replay does not take over.
    pub(crate) fn dated(delay_until: Option<String>, deadline: Option<String>) -> Self {
        Self {
            delay_until,
            deadline,
            ..Self::default()
        }
    }

    /// The same request with everything that it leaves open as in an accepted one. Dates are not taken over, since they lie in the past:
    /// neither `delayUntil` nor `deadline`. Of members that say the same thing, one that is given stands for all of them.
    pub(crate) fn or_as(mut self, old: TaskCreated) -> Self {
        let seconds = |millis: u32| f64::from(millis) / 1000.0;
        let length = |millis: f64| Length(task::Length::Seconds(millis / 1000.0));
        // What only a call has is taken over where there is one.
        let is_called = !old.is_pulled() || self.target_url.is_some();
        if !old.is_pulled() {
            self.target_url = self.target_url.or(Some(old.url));
        }
        if is_called {
            self.method = self.method.or(Some(old.method.as_str().to_owned()));
            self.headers = self.headers.or(Some(Headers(old.headers)));
        }
        if self.body.is_none() && self.json.is_none() {
            self.body = old.body;
            let encoding = old.body_encoding.name().map(str::to_owned);
            self.body_encoding = self.body_encoding.or(encoding);
        }
        if is_called && self.timeout.is_none() && self.max_wait_time.is_none() {
            self.timeout = Some(seconds(old.timeout_ms));
            self.max_wait_time = Some(seconds(old.max_wait_ms));
        }
        if self.deadline.is_none() && self.expires_in.is_none() {
            #[expect(clippy::cast_precision_loss, reason = "at most a year")]
            let expires_in = old.expires_in_ms.map(|millis| length(millis as f64));
            self.expires_in = expires_in;
        }
        let has_schedule = self.retry_backoff.is_some();
        if self.max_retries.is_none() && self.max_attempts.is_none() && !has_schedule {
            if old.max_retries <= MAX_RETRIES {
                self.max_retries = Some(old.max_retries.into());
            } else {
                self.max_attempts = Some(i64::from(old.max_retries) + 1);
            }
        }
        let bounds = old.retry_bounds;
        if !has_schedule {
            self.retry_backoff = Some(backoff(old.backoff, &old.retry_pauses));
            let millis = |millis: Option<u32>| millis.map(|millis| length(millis.into()));
            self.min_delay = self.min_delay.or_else(|| millis(bounds.min_ms));
            self.max_delay = self.max_delay.or_else(|| millis(bounds.max_ms));
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 1000, and a year")]
        {
            let share = || Jitter::Share(bounds.jitter.thousandths() as f64 / 1000.0);
            self.jitter = self.jitter.or_else(|| Some(share()));
            let max_age = || bounds.max_age_ms.map(|millis| length(millis as f64));
            self.max_age = self.max_age.or_else(max_age);
        }
        let retry_on = old
            .retry_on
            .map(|conditions| conditions.as_slice().to_vec());
        self.retry_on = self.retry_on.or(retry_on);
        let success = old.success.map(|success| success.to_string());
        self.success = self.success.or(success);
        self.tags = self.tags.or(Some(old.tags));
        let metadata = Headers(old.metadata.into_iter().collect());
        self.metadata = self.metadata.or(Some(metadata));
        let keyed = self.debounce.is_some() || self.singleton.is_some() || self.dedup.is_some();
        if !keyed && self.ordering_key.is_none() {
            let singleton = old.once.as_deref().and_then(Once::singleton);
            self.singleton = singleton.map(|singleton| SingletonTask {
                key: Some(singleton.key.clone()),
                mode: Some(singleton.mode.as_str().to_owned()),
            });
        }
        self.priority = self.priority.or(Some(old.priority.get().into()));
        if self.fairness_key.is_none() {
            self.fairness_key = old.fairness_key;
            let weight = old.fairness_weight.map(i64::from);
            self.fairness_weight = self.fairness_weight.or(weight);
        }
        if let Some(ordering) = old.ordering.filter(|_| self.ordering_key.is_none()) {
            self.ordering_key = Some(ordering.key);
            let on_failure = || ordering.on_failure.as_str().to_owned();
            self.on_failure = self.on_failure.or_else(|| Some(on_failure()));
        }
        self.queue = self.queue.or(Some(old.queue.to_string()));
        if is_called {
            self.follow_redirects = self.follow_redirects.or(Some(old.follow_redirects));
            let resolve = old.resolve.names().into_iter().map(str::to_owned);
            self.resolve = self.resolve.or_else(|| Some(resolve.collect()));
        }
        self.on_complete_url = self.on_complete_url.or(old.on_complete_url);
        let limits = old.limits.into_iter().map(CreateLimit::from);
        self.limits = self.limits.or_else(|| Some(limits.collect()));
        if !self.limits.as_ref().is_some_and(Vec::is_empty) {
            let then = old.on_rate_limited.map(|then| then.as_str().to_owned());
            self.on_rate_limited = self.on_rate_limited.or(then);
        }
        self
    }
}

fn backoff(backoff: task::Backoff, own: &OwnPauses) -> RetryBackoff {
    if own.is_empty() {
        return RetryBackoff::Word(backoff.as_str().to_owned());
    }
    let pauses = own.millis().iter();
    let pauses = pauses.map(|millis| Length(task::Length::Seconds(f64::from(*millis) / 1000.0)));
    RetryBackoff::Pauses(pauses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use waybill_domain::egress::Egress;
    use waybill_domain::id::{TaskId, TeamId};
    use waybill_domain::partition::Partition;
    use waybill_domain::task::{Limits, TaskSpec};
    use waybill_domain::time::Timestamp;
    use waybill_edge::body::parse;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn spec(request: CreateTask) -> TaskSpec {
        let limits = Limits {
            max_wait: Duration::from_secs(120),
            max_delay: Duration::from_secs(366 * 86_400),
        };
        let checked = request.check(&limits, &Egress::strict(), NOW);
        checked.expect("a valid request")
    }

    fn request(json: &str) -> CreateTask {
        parse(json.as_bytes()).expect(json)
    }

    fn accepted(json: &str) -> TaskCreated {
        let id = TaskId::new(NOW, 7, Partition::default());
        spec(request(json)).accept(id, TeamId::new(NOW, 1), None, NOW)
    }

    #[test]
    fn without_overrides_everything_but_dates_is_as_it_was() {
        for place in [
            r#""orderingKey": "order-1", "onFailure": "cancelRest""#,
            r#""singleton": {"key": "a", "mode": "skip"}"#,
        ] {
            let old = accepted(&format!(
                r#"{{"targetUrl": "https://a.example/x", "method": "PUT", "headers": {{"X-A": "1"}}, "body": "/w==", "bodyEncoding": "base64",
                "timeout": 12.5, "maxWaitTime": 60, "delay": "5m", "deadline": "2030-01-31T12:00:00Z", "expiresIn": "6h", "success": "2xx,404",
                "tags": ["a"], "metadata": {{"k": "v"}}, "retryBackoff": ["10s", "1m30s"], "minDelay": "5s", "maxDelay": "3m", "jitter": 0.25,
                "maxAge": "2h", "maxRetries": 4, "retryOn": ["5xx"], "priority": 9, "queue": "q", "followRedirects": true,
                "onCompleteUrl": "https://b.example/", "resolve": ["headers", "query"],
                "fairnessKey": "customer-1", "fairnessWeight": 3, "limits": [{{"key": "a", "concurrency": 2}}, {{"key": "b", "rate": {{"limit": 5, "per": "1m", "burst": 2}}}}, {{"key": "c"}}], "onRateLimited": "pauseKey",
                {place}}}"#,
            ));
            let mut same = spec(request("{}").or_as(old.clone()));
            assert_eq!((same.not_before, same.deadline), (None, None));
            (same.not_before, same.deadline) = (old.not_before, old.deadline);
            let again = same.accept(old.id, old.team.clone(), None, NOW);
            assert_eq!(again, old);
        }
    }

    #[test]
    fn what_is_given_replaces_what_says_the_same() {
        let old = accepted(
            r#"{"targetUrl": "https://a.example/x", "body": "old", "timeout": 60, "expiresIn": "6h", "maxAttempts": 50, "minDelay": "5m"}"#,
        );
        let new = request(
            r#"{"json": [1], "timeout": 90, "deadline": "2030-01-31T12:00:00Z", "retryBackoff": ["2s"], "headers": {"X-B": "2"}}"#,
        );
        let new = spec(new.or_as(old));
        assert_eq!(new.body.as_deref(), Some("[1]"));
        assert_eq!((new.timeout_ms, new.max_wait_ms), (90_000, 90_000));
        assert_eq!(new.expires_in_ms, None);
        assert_eq!((new.max_retries, new.retry_bounds.min_ms), (1, None));
        assert_eq!(new.url, "https://a.example/x");
        assert!(new.headers.iter().any(|(name, _)| name == "X-B"));
    }

    #[test]
    fn a_pulled_task_is_pulled_again_unless_it_is_given_a_target() {
        let old = accepted(r#"{"json": {"a": 1}, "queue": "q", "maxRetries": 4}"#);
        assert!(old.is_pulled() && old.headers.is_empty());
        let same = spec(request("{}").or_as(old.clone()));
        let again = same.accept(old.id, old.team.clone(), None, NOW);
        assert_eq!(again, old);
        let called = spec(request(r#"{"targetUrl": "https://a.example/x"}"#).or_as(old));
        assert_eq!(called.url, "https://a.example/x");
        assert_eq!(called.body.as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn a_replay_is_called_whatever_comes_after_it() {
        for once in [
            r#""debounce": {"key": "a", "delay": "5s"}"#,
            r#""dedup": {"key": "a", "window": "5s"}"#,
        ] {
            let old = accepted(&format!(r#"{{"targetUrl": "https://a.example", {once}}}"#));
            assert!(old.once.is_some());
            assert_eq!(spec(request("{}").or_as(old)).once, None);
        }
    }

    /// Retries mean the same through every door: a replay has those of the task that it repeats.
    #[test]
    fn a_replay_has_the_retries_of_its_task() {
        let backoffs = ["exponential", "linear", "fixed", "overnight"];
        let bounds = [
            "",
            r#", "minDelay": 7"#,
            r#", "maxDelay": "20h""#,
            r#", "minDelay": "1s", "maxDelay": "5h", "maxAge": "3d""#,
        ];
        for word in backoffs {
            for attempts in [1, 2, 11, 12, 100] {
                for jitter in ["0", "0.001", "0.1", "0.333", "1"] {
                    for bounds in bounds {
                        let json = format!(
                            r#"{{"targetUrl": "https://a.example", "retryBackoff": "{word}", "maxAttempts": {attempts}, "jitter": {jitter}{bounds}}}"#
                        );
                        let old = accepted(&json);
                        let again = spec(request("{}").or_as(old.clone()));
                        assert_eq!(again.max_retries, old.max_retries, "{json}");
                        assert_eq!(again.backoff, old.backoff, "{json}");
                        assert_eq!(again.retry_pauses, old.retry_pauses, "{json}");
                        assert_eq!(again.retry_bounds, old.retry_bounds, "{json}");
                    }
                }
            }
        }
    }
}
