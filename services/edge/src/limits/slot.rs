//! The standing of a request under its limits, collected on its way in and written on its way out.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use waybill_domain::access::limit::headers::{RateLimitFields, fields};
use waybill_domain::access::limit::{Meter, Standing};
use waybill_domain::time::Timestamp;

const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Collects where one request stands under its limits. Clones share it; empty until a limiter was asked.
#[derive(Debug, Clone, Default)]
pub struct LimitSlot(Arc<Mutex<Option<Standing>>>);

impl LimitSlot {
    /// Adds the finding of a limiter. For one policy the later finding counts, and a limit counts more than none.
    pub fn note(&self, found: Standing) {
        let mut noted = self.0.lock();
        match (&mut *noted, found) {
            (Some(Standing::Metered(meters)), Standing::Metered(found)) => {
                let same = |a: &Meter, b: &Meter| {
                    a.policy.name == b.policy.name && a.partition == b.partition
                };
                meters.retain(|old| !found.iter().any(|new| same(old, new)));
                meters.extend(found);
            }
            (Some(Standing::Metered(_)), Standing::Unlimited) => {}
            (noted, found) => *noted = Some(found),
        }
    }

    /// What was found, if a limiter was asked.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.0.lock().clone()
    }
}

/// Writes the fields of rate limits, and returns the plain ones: what `slot` has collected, else the standing of an unrecognised caller, from `unknown`.
pub fn write_headers(
    slot: &LimitSlot,
    unknown: impl FnOnce() -> Standing,
    now: Timestamp,
    headers: &mut HeaderMap,
) -> RateLimitFields {
    let standing = slot.standing().unwrap_or_else(unknown);
    let mut fields = fields(&standing, now);
    headers.insert(X_LIMIT, HeaderValue::from(fields.limit));
    headers.insert(X_REMAINING, HeaderValue::from(fields.remaining));
    headers.insert(X_RESET, HeaderValue::from(fields.reset));
    let structured = fields
        .structured
        .take()
        .map(|texts| [(POLICY, texts.policy), (LIMIT, texts.limit)]);
    for (name, text) in structured.into_iter().flatten() {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    fields
}
