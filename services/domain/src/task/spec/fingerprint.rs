//! The fingerprint of a request, by which repetitions are recognised.

use sha2::{Digest, Sha256};

use super::TaskSpec;
use crate::task::once::Once;
use crate::task::retry::RetryOn;

impl TaskSpec {
    /// SHA-256 of the whole request, in hex: equivalent requests have the same fingerprint. For a
    /// removed credential only the mask is included, since a stored hash would allow guessing the
    /// credential for ever.
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
        // A request that is repeated means the same length, which ends at another date.
        let dated = self.not_before.filter(|_| self.delay.is_none());
        let numbers = [
            i64::from(self.timeout_ms),
            i64::from(self.max_wait_ms),
            dated.map_or(-1, |at| at.0),
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
        // Options added later are only included if they are used, so that older requests keep their
        // fingerprints.
        let mut newer = |name: &str, value: &str| {
            field(name);
            field(value);
        };
        if let Some(delay) = self.delay {
            newer("delay", &delay.as_millis().to_string());
        }
        if let Some(encoding) = self.body_encoding.name() {
            newer("bodyEncoding", encoding);
        }
        for pause in self.retry_pauses.millis() {
            newer("retryPause", &pause.to_string());
        }
        let bounds = &self.retry_bounds;
        if !bounds.are_usual() {
            let text =
                |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
            newer("minDelay", &text(bounds.min_ms.map(u64::from)));
            newer("maxDelay", &text(bounds.max_ms.map(u64::from)));
            newer("jitter", &bounds.jitter.thousandths().to_string());
            newer("maxAge", &text(bounds.max_age_ms));
        }
        if let Some(success) = &self.success {
            newer("success", &success.to_string());
        }
        if let Some(deadline) = self.deadline {
            newer("deadline", &deadline.0.to_string());
        }
        if let Some(expires_in) = self.expires_in_ms {
            newer("expiresIn", &expires_in.to_string());
        }
        if let Some(key) = &self.fairness_key {
            newer("fairnessKey", key);
        }
        if let Some(weight) = self.fairness_weight {
            newer("fairnessWeight", &weight.to_string());
        }
        if let Some(ordering) = &self.ordering {
            newer("orderingKey", &ordering.key);
            newer("onFailure", ordering.on_failure.as_str());
        }
        if let Some(then) = self.on_rate_limited {
            newer("onRateLimited", then.as_str());
        }
        match self.once.as_deref() {
            None => {}
            Some(Once::Debounce(debounce)) => {
                newer("debounce.key", &debounce.key);
                newer("debounce.delay", &debounce.delay_ms.to_string());
                newer("debounce.maxDelay", &debounce.max_delay_ms.to_string());
                newer("debounce.mode", debounce.mode.as_str());
            }
            Some(Once::Singleton(singleton)) => {
                newer("singleton.key", &singleton.key);
                newer("singleton.mode", singleton.mode.as_str());
            }
            Some(Once::Dedup(dedup)) => {
                newer(
                    if dedup.content {
                        "dedup.content"
                    } else {
                        "dedup.key"
                    },
                    &dedup.key,
                );
                newer("dedup.window", &dedup.window_ms.to_string());
                newer("dedup.onDuplicate", dedup.on_duplicate.as_str());
                newer("dedup.ifFailed", dedup.if_failed.as_str());
            }
        }
        for limit in &self.limits {
            newer("limit", limit.key.as_str());
            if let Some(concurrency) = limit.concurrency {
                newer("concurrency", &concurrency.to_string());
            }
            if let Some(rate) = limit.rate {
                let rate = format!("{} {} {}", rate.limit, rate.per_ms, rate.burst);
                newer("rate", &rate);
            }
        }
        if let Some(replayed) = self.replay_of {
            newer("replayOf", &replayed.to_string());
        }
        for tag in &self.tags {
            newer("tag", tag);
        }
        for (name, value) in &self.metadata {
            newer(name, value);
        }
        if !self.resolve.is_headers_only() {
            for place in self.resolve.names() {
                field(place);
            }
        }
        hex::encode(hash.finalize())
    }
}
